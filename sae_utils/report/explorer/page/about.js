// The first page: what is explored, and the dictionary as a whole.

function aboutPage() {
  const told = facts().map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)));
  return [
    plainHead("The dictionary"),
    el("dl", { class: "told" }, told),
    el("div", { class: "page even" }, frequencyPanel(), sharedPanel(), howPanel()),
  ];
}

function plainHead(title) {
  return el("div", { class: "page-head" },
    el("a", { class: "button back", href: "#/" }, "← List"), el("h1", { tabindex: "-1" }, title));
}

function facts() {
  const { facts: known } = data;
  const told = [
    ["Language model", known.model], ["Place", known.hook_point], ["Dictionary", known.dictionary],
    ["Held-out tokens", whole(known.n_tokens)], ["Latents", whole(data.n)], ["Dead", whole(count((i) => !isAlive(i)))],
  ];
  if (Number.isFinite(known.explained_variance)) told.push(["Explained variance", fixed(known.explained_variance, 3)]);
  if (Number.isFinite(known.explained_variance_trimmed)) {
    told.push(["Without the farthest 0.1 % of tokens", fixed(known.explained_variance_trimmed, 3)]);
  }
  if (Number.isFinite(known.l0)) told.push(["Active on a token (L0)", fixed(known.l0, 1)]);
  if (data.has("novelty")) told.push([`Novel beside ${plural(known.n_smaller, "latent")}`, whole(count(isNovel))]);
  if (data.has("composition")) told.push(["Meta-latents", whole(data.nMeta)]);
  if (Number.isFinite(known.meta_explained_variance)) {
    told.push(["Variance of decoder rows that they explain", fixed(known.meta_explained_variance, 3)]);
  }
  return told;
}

function count(keep) {
  let n = 0;
  for (let i = 0; i < data.n; i++) if (keep(i)) n++;
  return n;
}

function frequencyPanel() {
  const perDecade = 4, counts = new Array(6 * perDecade).fill(0);
  for (const share of data.arrays.firings_frequency.values) {
    const at = Math.floor((Math.log10(share) + 6) * perDecade);
    if (share > 0) counts[Math.max(0, Math.min(counts.length - 1, at))]++;
  }
  const edge = (at) => percent(Math.pow(10, at / perDecade - 6));
  const first = Math.max(0, counts.findIndex((n) => n > 0)), last = counts.findLastIndex((n) => n > 0) + 1;
  const note = "Latents by the share of tokens on which they fire, both on log scales; dead latents are left out.";
  return panel("How often latents fire", note, columns(counts.slice(first, last), {
    ends: [edge(first), edge(last)], what: "share of tokens", label: "Histogram of firing frequencies",
    describe: (at) => `${edge(first + at)} to ${edge(first + at + 1)}`,
  }));
}

function sharedPanel() {
  if (!data.has("partners")) return null;
  const counts = new Array(data.facts.n_others + 1).fill(0);
  for (let i = 0; i < data.n; i++) if (isAlive(i)) counts[data.value("partners_shared_with", i)]++;
  const note = "Alive latents by the number of other seeds' dictionaries that share them: one partner by both " +
    "matchings, both cosines at least 0.7.";
  const rows = counts.map((n, others) => ({ name: el("span", {}, others), value: n, text: whole(n) }));
  return panel("In how many other seeds", note, bars(rows));
}

function howPanel() {
  const lines = [
    ["Search for a token, such as ", el("kbd", {}, "import"), ": first come the latents that fire on it, then those " +
      "that raise it. In quotes, a whole token. A number finds that latent."],
    ["A latent's page lines up the text at the token where it fires. More colour is stronger; the value shows on " +
      "hover and on focus."],
    ["␣ is a space, ↵ a line break, ⇥ a tab. Activations are in the dictionary's own, normalised units."],
    ["Press ", el("kbd", {}, "?"), " for the keys. The address of each page can be kept and shared."],
  ];
  return panel("How to read it", null, el("ul", { class: "plain" }, lines.map((line) => el("li", {}, line))));
}
