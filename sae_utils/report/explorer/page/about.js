// The first page: what is explored, and the dictionary as a whole.

function aboutPage() {
  const { facts } = data;
  const told = [
    ["Language model", facts.model], ["Place", facts.hook_point], ["Dictionary", facts.dictionary],
    ["Held-out tokens", whole(facts.n_tokens)], ["Latents", whole(data.n)],
    ["Dead", whole(count((i) => !isAlive(i)))],
    facts.explained_variance !== undefined && ["Explained variance", fixed(facts.explained_variance, 3)],
    facts.l0 !== undefined && ["Active on a token (L0)", fixed(facts.l0, 1)],
    data.has("novelty") && [`Novel beside ${plural(facts.n_smaller, "latent")}`, whole(count((i) => isAlive(i) && data.value("novelty_novel", i)))],
    data.has("composition") && ["Meta-latents", whole(data.nMeta)],
    data.has("composition") && facts.meta_explained_variance !== undefined
      && ["Variance of decoder rows that they explain", fixed(facts.meta_explained_variance, 3)],
  ].filter(Boolean);
  return [
    el("div", { class: "page-head" }, el("a", { class: "button back", href: "#/" }, "← List"), el("h1", { tabindex: "-1" }, "The dictionary")),
    el("dl", { class: "told" }, told.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
    el("div", { class: "page even" }, frequencyPanel(), sharedPanel(), howPanel()),
  ];
}

function count(keep) {
  let n = 0;
  for (let i = 0; i < data.n; i++) if (keep(i)) n++;
  return n;
}

function frequencyPanel() {
  const perDecade = 4, counts = new Array(6 * perDecade).fill(0);
  for (const share of data.arrays.firings_frequency.values) {
    if (share > 0) counts[Math.max(0, Math.min(counts.length - 1, Math.floor((Math.log10(share) + 6) * perDecade)))]++;
  }
  const edge = (at) => percent(Math.pow(10, at / perDecade - 6));
  const first = Math.max(0, counts.findIndex((n) => n > 0)), last = counts.findLastIndex((n) => n > 0) + 1;
  return panel("How often latents fire", "Latents by the share of tokens on which they fire, both on log scales; dead latents are left out.",
    columns(counts.slice(first, last), {
      ends: [edge(first), edge(last)], what: "share of tokens", describe: (at) => `${edge(first + at)} to ${edge(first + at + 1)}`,
      label: "Histogram of firing frequencies",
    }));
}

function sharedPanel() {
  if (!data.has("partners")) return null;
  const counts = new Array(data.facts.n_others + 1).fill(0);
  for (let i = 0; i < data.n; i++) if (isAlive(i)) counts[data.value("partners_shared_with", i)]++;
  return panel("In how many other seeds",
    "Alive latents by the number of other seeds' dictionaries that share them: one partner by both matchings, both cosines at least 0.7.",
    bars(counts.map((n, others) => ({ name: el("span", {}, others), value: n, text: whole(n) }))));
}

const howPanel = () => panel("How to read it", null, el("ul", { class: "plain" },
  el("li", {}, "Search for a token, such as ", el("kbd", {}, "import"), ": first come the latents that fire on it, then those that raise it. In quotes, a whole token. A number finds that latent."),
  el("li", {}, "A latent's page lines up the text at the token where it fires. More colour is stronger; the value shows on hover and on focus."),
  el("li", {}, "␣ is a space, ↵ a line break, ⇥ a tab. Activations are in the dictionary's own, normalised units."),
  el("li", {}, "Press ", el("kbd", {}, "?"), " for the keys. The address of each page can be kept and shared.")));
