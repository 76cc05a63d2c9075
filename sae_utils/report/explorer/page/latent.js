// The page of one latent.

const FIRES = "share of the held-out tokens on which its activation is not 0: that is what “fires on” means here";

function latentPage(i) {
  const side = el("div", { class: "side" }, tokensPanel(i), promotesPanel(i), compositionPanel(i), partnerPanel(i),
    noveltyPanel(i), togetherPanel(i), neighboursPanel(i));
  const body = el("div", { class: "body" }, histogramPanel(i), contextsPanel(i));
  const entries = [
    ["Fires on", percent(data.value("firings_frequency", i)), FIRES],
    ["Mean activation", activation(data.value("firings_mean", i)), "over the tokens on which it fires"],
    ["Largest", activation(data.value("firings_maximum", i)), "largest activation on the held-out text"],
    ["Meta-latents", whole(data.metaCount[i]), "that its decoder row is made of"],
  ];
  return [
    pageHead(`Latent ${i}`, "latent", badges(i)), statistics(entries), explanation(i),
    comparePanel(i), el("div", { class: "page" }, body, side),
  ];
}

function pageHead(title, kind, ...rest) {
  const step = (to, text, title) => el("button", { type: "button", "data-step": to, "aria-label": title, title }, text);
  const head = plainHead(title);
  head.append(el("span", { class: "of" }, `of ${whole(sourceOf(kind).count())}`), ...rest.flat(),
    el("span", { class: "steps" }, step(-1, "←", "The one before in the list"), step(1, "→", "The one after it")));
  return head;
}

function badges(i) {
  const badge = (text, kind, tip) => el("span", { class: `badge ${kind}`, "data-tip": tip, tabindex: tip && 0 }, text);
  if (!isAlive(i)) return [badge("dead", "off")];
  const shared = data.value("partners_shared_with", i);
  const found = badge(`in ${shared} of ${plural(data.facts.n_others, "other seed")}`, shared ? "on" : "off");
  const novel = isNovel(i) ? badge("novel", "new", novelMeans()) : badge("reconstruction", "on", reconstructionMeans());
  return [found, novel];
}

function statistics(entries) {
  return el("dl", { class: "statistics" }, entries.map(([name, text, about]) =>
    el("div", { title: about }, el("dt", {}, name), el("dd", {}, number(text)))));
}

function histogramPanel(i) {
  const counts = data.row("firings_histogram", i), most = data.value("firings_maximum", i);
  if (!isAlive(i)) return null;
  const edge = (at) => activation((most * at) / counts.length);
  return panel("Activations", "Tokens on which it fires, by activation; heights on a log scale.", columns(counts, {
    ends: ["0", activation(most)], what: "activation", describe: (at) => `${edge(at)} to ${edge(at + 1)}`,
    label: `Histogram of ${plural(counts.reduce((a, b) => a + b, 0), "activation")} from 0 to ${activation(most)}`,
  }));
}

function contextsPanel(i) {
  const nowhere = "Nowhere on the held-out text: the latent is dead.";
  if (!isAlive(i)) return panel("Where it fires", null, el("p", {}, nowhere));
  const button = el("button",
    { type: "button", "data-do": "expand", "aria-pressed": String(inFull), title: "Line breaks (b)" }, "Line breaks");
  const heading = el("div", { class: "heading" }, el("h2", {}, "Where it fires"), button);
  return el("section", { class: "panel" }, heading, contextGroups(i));
}

// Rows of an array of indices and of its values; an index below 0 is none.
function pairs(i, indices, values) {
  const value = data.row(values, i);
  return Array.from(data.row(indices, i), (id, at) => ({ id, value: value[at] })).filter(({ id }) => id >= 0);
}

function tokensPanel(i) {
  if (!isAlive(i)) return null;
  const rows = pairs(i, "firings_token", "firings_token_share").map(({ id, value }) =>
    ({ name: chip(id), value, text: percent(value) }));
  return panel("Its activation by token", "Of the sum of its activations, the share on each token.", bars(rows));
}

const promotesPanel = (i) => panel("Next tokens that it promotes", PROMOTED_NOTE, promoted("promotes", i));

function compositionPanel(i) {
  const rows = pairs(i, "composition_latent", "composition_weight").map(({ id, value }) =>
    ({ name: metaLink(id), value, text: fixed(value, 3) }));
  const note = "Weights: the meta-SAE's activations on this latent's decoder row. Beside each, the tokens it raises.";
  return panel("Made of meta-latents", note, rows.length ? bars(rows) : el("p", {}, "None."));
}

function partnerPanel(i) {
  const title = `Partner in seed ${data.facts.partner_seed}`;
  const partner = (which) => data.value(`partners_${which}_latent`, i);
  const none = "None: the other dictionary has no latent left for it, or it is dead.";
  if (partner("decoder") < 0 && partner("encoder") < 0) return panel(title, null, el("p", {}, none));
  const lacks = partner("decoder") < 0 || partner("encoder") < 0;
  const agree = partner("decoder") === partner("encoder");
  const verdict = data.value("partners_strict", i) ? "Shared: both matchings name it, with both cosines at least 0.7."
    : lacks ? "Not shared: one matching has no partner for it."
    : agree ? "Not shared: a cosine is below 0.7." : "Not shared: the two matchings name different latents.";
  const titles = ["Matching", "Partner", "Cosine"].map((text) => el("th", { scope: "col" }, text));
  const named = { decoder: "decoder", encoder: "encoder, in the metric of the data" };
  const rows = ["decoder", "encoder"].map((which) => el("tr", {}, el("th", { scope: "row" }, named[which]),
    el("td", {}, partner(which) < 0 ? "none" : `#${partner(which)}`),
    el("td", {}, number(partner(which) < 0 ? "–" : cosine(data.value(`partners_${which}_cosine`, i))))));
  return panel(title, verdict, el("table", {}, el("thead", {}, el("tr", {}, titles)), el("tbody", {}, rows)));
}

function noveltyPanel(i) {
  if (!isAlive(i)) return null;
  const row = (name, text) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, number(text)));
  const change = data.value("novelty_mse_change", i), near = data.value("novelty_nearest", i);
  const note = isNovel(i) ? novelMeans() : reconstructionMeans();
  return panel(`Beside the dictionary of ${plural(data.facts.n_smaller, "latent")}`, note,
    el("p", { class: "verdict" }, isNovel(i) ? "Novel" : "Reconstruction"),
    el("table", {}, el("tbody", {},
      row("Squared error if added", `${change > 0 ? "+" : ""}${minus(percent(change))}`),
      row(`Nearest latent there, #${near}: cosine`, cosine(data.value("novelty_cosine", i))))));
}

const novelMeans = () => `Novel: added to the dictionary of ${plural(data.facts.n_smaller, "latent")}, it lowers the ` +
  "squared error there, so it has something that the smaller dictionary lacks.";
const reconstructionMeans = () => `Reconstruction: added to the dictionary of ` +
  `${plural(data.facts.n_smaller, "latent")}, it raises the squared error there, so that one has what it stands for.`;

function togetherPanel(i) {
  if (!isAlive(i)) return null;
  const share = data.row("together_share", i);
  const rows = pairs(i, "together_latent", "together_correlation").map(({ id, value }, at) => ({
    name: latentLink(id), value, text: fixed(value, 3),
    tip: `#${id} fires on ${percent(share[at])} of the tokens on which #${i} fires`,
  }));
  const note = "Latents of this dictionary by the correlation of their firing with its firing: 1 is always on the " +
    "same tokens, 0 as chance has it. On hover: on how much of its firings they fire, too.";
  return panel("Fires together with", note, rows.length ? bars(rows) : el("p", {}, "None more than by chance."));
}

function neighboursPanel(i) {
  const rows = pairs(i, "neighbours_latent", "neighbours_cosine").map(({ id, value }) =>
    ({ name: latentLink(id), value, text: cosine(value), down: value < 0 }));
  return panel("Nearest latents", "By the cosine of decoder rows, within this dictionary.", bars(rows));
}
