// The first page: what is explored, and the dictionary as a whole.

function aboutPage() {
  const told = facts().map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)));
  return [
    plainHead("The dictionary"),
    el("dl", { class: "told" }, told),
    worthPanel(),
    el("div", { class: "page even" }, scatterPanel(),
      el("div", { class: "body" }, frequencyPanel(), sharedPanel()), howPanel()),
  ];
}

function plainHead(title) {
  return el("div", { class: "page-head" },
    el("a", { class: "button back", href: "#/" }, "← List"), el("h1", { tabindex: "-1" }, title));
}

const PICKED = 4;

// A few latents of each sort to begin with, best explained first.
function worthPanel() {
  const best = listed({ ...usualState("latent", ""), show: "worth" }, null);
  const sorts = [
    ["Found in every other seed", "every", inEvery], ["Found in no other seed", "none", inNone],
    [`Novel beside ${plural(data.facts.n_smaller, "latent")}`, "novel", isNovel],
  ];
  const columnsOf = sorts.map(([title, show, keep]) => {
    const some = best.filter(keep).slice(0, PICKED);
    const more = el("a", { href: `#/about?show=${show}` }, "all");
    const shown = some.length ? el("ul", {}, some.map(pick)) : el("p", {}, "None.");
    return el("div", {}, el("h3", {}, title, " · ", more), shown);
  });
  return panel("Worth a look", worthMeans(), el("div", { class: "picks" }, columnsOf));
}

function pick(i) {
  const rule = ruleOf(i);
  return el("li", {}, latentLink(i),
    rule && el("span", { class: "rule" }, el("b", {}, fixed(score(i), 2)), " ", ruleWords(rule, 4)));
}

function facts() {
  const { facts: known } = data;
  const ifKnown = (x, digits) => Number.isFinite(x) && fixed(x, digits);
  const told = [
    ["Language model", known.model], ["Place", known.hook_point], ["Dictionary", known.dictionary],
    ["Held-out tokens", whole(known.n_tokens)], ["Latents", whole(data.n)], ["Dead", whole(count((i) => !isAlive(i)))],
    ["Explained variance", ifKnown(known.explained_variance, 3)],
    ["Without the farthest 0.1 % of tokens", ifKnown(known.explained_variance_trimmed, 3)],
    ["Latents that fire on a token (L0)", ifKnown(known.l0, 1)],
    [`Novel beside ${plural(known.n_smaller, "latent")}`, whole(count(isNovel))],
    ["Meta-latents", whole(data.nMeta)],
    ["Variance of decoder rows that they explain", ifKnown(known.meta_explained_variance, 3)],
  ];
  return told.filter(([, text]) => text);
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
  const bounds = (at) => (100 * Math.pow(10, at / perDecade - 6)).toPrecision(3);
  const note = "Latents by the share of tokens on which they fire, both on log scales; dead latents are left out. " +
    "Click a column to list its latents.";
  return panel("How often latents fire", note, columns(counts.slice(first, last), {
    ends: [edge(first), edge(last)], what: "share of tokens", label: "Histogram of firing frequencies",
    describe: (at) => `${edge(first + at)} to ${edge(first + at + 1)}`,
    pick: (at) => change({ kind: "latent", show: "all", least: bounds(first + at), most: bounds(first + at + 1) }),
  }));
}

function sharedPanel() {
  const counts = new Array(data.facts.n_others + 1).fill(0);
  for (let i = 0; i < data.n; i++) if (isAlive(i)) counts[data.value("partners_shared_with", i)]++;
  const note = `Alive latents by the number of other seeds' dictionaries that share them: ${STRICT}.`;
  const rows = counts.map((n, others) => ({ name: el("span", {}, others), value: n, text: whole(n) }));
  return panel("In how many other seeds", note, bars(rows));
}

function howPanel() {
  const lines = [
    ["A latent fires on a token where its activation is not 0. “Fires on 2 %” is the share of the held-out tokens."],
    ["Search for a token, such as ", el("kbd", {}, "import"), ": first come the latents whose activation is mostly " +
      "on it, then those whose explanation names it, then those that raise it. In quotes, a whole token. A number finds " +
      "that latent."],
    ["An explanation is the best of three simple rules: the token, the token before, or the " +
      `token's role in Python is one of a few. Its score is the ${SCORE}. It is no reader's words: a latent for a topic ` +
      "scores low."],
    [novelMeans()],
    ["A latent's page lines up the text at the token where it fires. More colour is stronger; the value shows on " +
      "hover and on focus."],
    ["␣ is a space, ↵ a line break, ⇥ a tab. Activations are in the dictionary's own, normalised units."],
    ["Press ", el("kbd", {}, "?"), " for the keys. The address of each page can be kept and shared."],
  ];
  const items = lines.map((line) => el("li", {}, line));
  return panel("How to read it", null, el("ul", { class: "plain" }, items));
}
