// The page of one latent.

function latentPage(i) {
  const side = el("div", { class: "side" }, firesOnPanel(i), promotesPanel(i), compositionPanel(i), partnerPanel(i),
    noveltyPanel(i), neighboursPanel(i));
  const contexts = isAlive(i)
    ? el("section", { class: "panel" },
      el("div", { class: "heading" }, el("h2", {}, "Where it fires"),
        el("button", { type: "button", "data-do": "expand", "aria-pressed": String(inFull), title: "Line breaks (b)" }, "Line breaks")),
      contextGroups(i))
    : panel("Where it fires", null, el("p", {}, "Nowhere on the held-out text: the latent is dead."));
  const body = el("div", { class: "body" }, histogramPanel(i), contexts);
  return [pageHead(`Latent ${i}`, "latent", i, badges(i)), statistics(i), el("div", { class: "page" }, body, side)];
}

function pageHead(title, kind, i, ...rest) {
  const count = kind === "meta" ? data.nMeta : data.n;
  const step = (to, text, label) => el("button", { type: "button", "data-step": to, "aria-label": label, title: label }, text);
  return el("div", { class: "page-head" },
    el("a", { class: "button back", href: "#/" }, "← List"),
    el("h1", { tabindex: "-1" }, title), el("span", { class: "of" }, `of ${whole(count)}`), rest,
    el("span", { class: "steps" }, step(-1, "←", "The one before in the list"), step(1, "→", "The one after in the list")));
}

function badges(i) {
  const badge = (text, kind) => el("span", { class: `badge ${kind}` }, text);
  if (!isAlive(i)) return [badge("dead", "off")];
  const shown = [];
  if (data.has("partners")) {
    const shared = data.value("partners_shared_with", i);
    shown.push(badge(`in ${shared} of ${plural(data.facts.n_others, "other seed")}`, shared ? "on" : "off"));
  }
  if (data.has("novelty")) shown.push(data.value("novelty_novel", i) ? badge("novel", "new") : badge("reconstruction", "on"));
  return shown;
}

function statistics(i) {
  const entries = [
    ["Fires on", percent(data.value("firings_frequency", i)), "share of the held-out tokens on which it is active"],
    ["Mean activation", activation(data.value("firings_mean", i)), "over the tokens on which it is active"],
    ["Largest", activation(data.value("firings_maximum", i)), "largest activation on the held-out text"],
  ];
  if (data.has("composition")) entries.push(["Meta-latents", whole(data.metaCount[i]), "that its decoder row is made of"]);
  return el("dl", { class: "statistics" }, entries.map(([name, text, about]) =>
    el("div", { title: about }, el("dt", {}, name), el("dd", {}, number(text)))));
}

function histogramPanel(i) {
  const counts = data.row("firings_histogram", i), most = data.value("firings_maximum", i);
  if (!isAlive(i)) return null;
  const edge = (at) => activation((most * at) / counts.length);
  return panel("Activations", "Tokens on which it is active, by activation; heights on a log scale.", columns(counts, {
    ends: ["0", activation(most)], what: "activation", describe: (at) => `${edge(at)} to ${edge(at + 1)}`,
    label: `Histogram of ${plural(counts.reduce((a, b) => a + b, 0), "activation")} from 0 to ${activation(most)}`,
  }));
}

function firesOnPanel(i) {
  if (!isAlive(i)) return null;
  const shares = data.row("firings_token_share", i);
  const rows = Array.from(data.row("firings_token", i), (id, at) => ({ id, name: chip(id), value: shares[at], text: percent(shares[at]) }));
  return panel("Fires on", "Tokens by their share of the sum of its activations.", bars(rows.filter(({ id }) => id >= 0)));
}

const promotesPanel = (i) => panel("Next tokens that it promotes", PROMOTED_NOTE, promoted("promotes", i));

function compositionPanel(i) {
  if (!data.has("composition")) return null;
  const weights = data.row("composition_weight", i);
  const rows = Array.from(data.row("composition_latent", i), (meta, at) => ({ meta, value: weights[at], text: fixed(weights[at], 3) }))
    .filter(({ meta }) => meta >= 0).map((row) => ({ ...row, name: metaLink(row.meta) }));
  return panel("Made of meta-latents", "Weights: the meta-SAE's activations on this latent's decoder row. Beside each, the tokens that it raises.",
    rows.length ? bars(rows) : el("p", {}, "None: the meta-SAE has no part for it."));
}

function partnerPanel(i) {
  if (!data.has("partners")) return null;
  const seed = data.facts.partner_seed, title = `Partner in seed ${seed}`;
  const side = (which) => ({ latent: data.value(`partners_${which}_latent`, i), cosine: data.value(`partners_${which}_cosine`, i) });
  const sides = { decoder: side("decoder"), encoder: side("encoder") };
  if (sides.decoder.latent < 0) return panel(title, null, el("p", {}, "None: dead latents are left out of the matching."));
  const agree = sides.decoder.latent === sides.encoder.latent;
  const verdict = data.value("partners_strict", i) ? "Shared: both matchings name it, with both cosines at least 0.7."
    : agree ? "Not shared: a cosine is below 0.7." : "Not shared: the two matchings name different latents.";
  return panel(title, verdict, el("table", {},
    el("thead", {}, el("tr", {}, ["Matching", "Partner", "Cosine"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, Object.entries(sides).map(([which, { latent, cosine: value }]) =>
      el("tr", { class: which }, el("th", { scope: "row" }, which), el("td", {}, latent < 0 ? "none" : `#${latent}`),
        el("td", {}, number(Number.isNaN(value) ? "–" : cosine(value))))))));
}

function noveltyPanel(i) {
  if (!data.has("novelty") || !isAlive(i)) return null;
  const novel = data.value("novelty_novel", i), change = data.value("novelty_mse_change", i);
  const entry = (name, text) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, number(text)));
  const note = "A latent is novel if adding it to the smaller dictionary lowers the squared error there.";
  return panel(`Beside the dictionary of ${plural(data.facts.n_smaller, "latent")}`, note,
    el("p", { class: "verdict" }, novel ? "Novel" : "Reconstruction"),
    el("table", {}, el("tbody", {},
      entry("Squared error if added", percentChange(change)),
      entry(`Nearest latent there, #${data.value("novelty_nearest", i)}: cosine`, cosine(data.value("novelty_cosine", i))))));
}

const percentChange = (x) => `${x > 0 ? "+" : ""}${minus((100 * x).toPrecision(3))} %`;

function neighboursPanel(i) {
  const cosines = data.row("neighbours_cosine", i);
  const rows = Array.from(data.row("neighbours_latent", i), (latent, at) => ({ latent, value: cosines[at], text: cosine(cosines[at]) }))
    .filter(({ latent }) => latent >= 0).map((row) => ({ ...row, name: latentLink(row.latent), down: row.value < 0 }));
  return panel("Nearest latents", "By the cosine of decoder rows, within this dictionary.", bars(rows));
}
