// The numbers of the results file, as typed arrays. `data` holds them once load() is done.

const TYPES = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array, float32: Float32Array,
};
let data = null;

async function load() {
  const text = document.getElementById("data").textContent;
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : bytesOf(atob(text));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  data = unpack(await new Response(stream).arrayBuffer());
}

function bytesOf(binary) {
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const { name, type, shape, start } of header.arrays) {
    const size = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { values: new TYPES[type](buffer, 4 + length + start, size), shape };
  }
  return derive(header.facts, arrays);
}

// What the pages ask of the arrays: `value` of one entry, `row` of a matrix, and indices from the other side.
function derive(facts, arrays) {
  const value = (name, i) => arrays[name].values[i];
  const row = (name, i) => {
    const { values, shape } = arrays[name];
    return values.subarray(i * shape[1], (i + 1) * shape[1]);
  };
  const n = arrays.firings_frequency.shape[0];
  const found = { facts, arrays, value, row, n, nMeta: arrays.meta_raised.shape[0] };
  const { values: end } = arrays.vocabulary_end;
  found.utf8 = (id) => arrays.vocabulary_utf8.values.subarray(id ? end[id - 1] : 0, end[id]);
  found.tokens = Array.from(end, (_, id) => textAlone(found.utf8(id)));
  found.contextStart = {
    "": starts(arrays.contexts_latent.values, n),
    other_: starts(arrays.other_contexts_latent.values, arrays.other_firings_frequency.shape[0]),
  };
  found.metaCount = new Int32Array(n);
  found.users = Array.from({ length: found.nMeta }, () => []);
  for (let i = 0; i < n; i++) {
    row("composition_latent", i).forEach((meta, at) => {
      if (meta < 0) return;
      found.metaCount[i]++;
      found.users[meta].push({ latent: i, weight: row("composition_weight", i)[at] });
    });
  }
  for (const users of found.users) users.sort((a, b) => b.weight - a.weight);
  return found;
}

const WHOLE = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// A token's text; that of a part of a character is the names of its bytes.
function textAlone(utf8) {
  try {
    return WHOLE.decode(utf8);
  } catch {
    const name = (byte) => `<0x${byte.toString(16).toUpperCase()}>`;
    return Array.from(utf8, (byte) => (byte < 128 ? String.fromCharCode(byte) : name(byte))).join("");
  }
}

// The text of each token of a row: a character of several tokens is the last one's, and the others have none.
function textsInRow(ids) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return Array.from(ids, (id, at) => decoder.decode(data.utf8(id), { stream: at < ids.length - 1 }));
}

// Where each latent's entries begin in an array that is sorted by latent; the last entry is the array's length.
function starts(sorted, n) {
  const first = new Int32Array(n + 1);
  for (const latent of sorted) first[latent + 1]++;
  for (let i = 0; i < n; i++) first[i + 1] += first[i];
  return first;
}
