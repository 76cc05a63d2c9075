// Windows of text in which a latent fires, one to a line and aligned at the token that each was chosen for.

const PART = "·"; // stands where a latent fires on a token that has no text: not the last of a character

let inFull = false;

// The windows of a latent by group, strongest first; `of` is "" for this dictionary, "other_" for the other seed's.
function windows(latent, of = "") {
  const from = data.contextStart[of][latent], to = data.contextStart[of][latent + 1];
  const groups = [];
  for (let c = from; c < to; c++) (groups[data.value(`${of}contexts_group`, c)] ??= []).push(c);
  return groups;
}

function contextGroups(latent) {
  const nParts = data.facts.n_parts;
  return windows(latent).map((contexts, group) => {
    const share = (part) => Math.round((100 * part) / nParts);
    const title = group === 0 ? "Strongest firings"
      : `Between ${share(nParts - group)} % and ${share(nParts - group + 1)} % of its firings by strength`;
    return el("section", { class: "contexts" }, el("h3", {}, title), contexts.map((c) => contextLine(c, latent)));
  });
}

function contextLine(c, latent, of = "") {
  const ids = data.row(`${of}contexts_tokens`, c), values = data.row(`${of}contexts_values`, c);
  const peak = data.value(`${of}contexts_peak`, c), copies = data.value(`${of}contexts_copies`, c);
  const most = data.value(`${of}firings_maximum`, latent);
  const texts = textsInRow(ids);
  const tokens = Array.from(ids, (id, at) => contextToken(id, texts[at], values[at], most, at === peak));
  const line = el("div", { class: "text" },
    el("span", { class: "before" }, el("span", {}, tokens.slice(0, peak))),
    el("span", { class: "after" }, tokens.slice(peak)));
  const open = el("button", {
    type: "button", class: "strength", "aria-expanded": String(inFull),
    onclick: () => expand(context, !isOpen(context)),
    "aria-label": `activation ${activation(values[peak])}: show in full`,
  }, number(activation(values[peak])));
  const told = { class: "copies", "data-tip": `fires in ${copies} windows of the same text` };
  const times = copies > 1 && el("span", told, `×${copies}`);
  const context = el("div", { class: inFull ? "context full" : "context" }, open, line, times);
  return context;
}

function contextToken(id, text, value, most, isPeak) {
  // Line breaks, and spaces that indent, in elements of their own: in one line they take little room.
  const shown = (text || (value ? PART : "")).split(/(\n| {3,})/).filter(Boolean).map((piece) => {
    if (piece === "\n") return el("span", { class: "break" }, "↵");
    return /^ {3,}$/.test(piece) ? el("span", { class: "indent" }, piece) : visible(piece);
  });
  if (!value) return el("span", { class: "t" }, shown);
  const spoken = `${marked(text || data.tokens[id])} · activation ${activation(value)}`;
  return el("span", {
    class: isPeak ? "t active peak" : "t active", tabindex: isPeak ? 0 : -1, role: "mark", "aria-label": spoken,
    "data-tip": spoken, "--strength": Math.max(0.12, value / most).toFixed(3),
  }, shown);
}

const isOpen = (context) => context.classList.contains("full");

function expand(context, full) {
  context.classList.toggle("full", full);
  context.querySelector("button").setAttribute("aria-expanded", String(full));
}

function expandAll() {
  inFull = !inFull;
  document.querySelectorAll(".context").forEach((context) => expand(context, inFull));
  document.querySelector("[data-do=expand]")?.setAttribute("aria-pressed", String(inFull));
}

// From one active token to the next in its line; false where there is none.
function moveToken(step) {
  const here = document.activeElement;
  if (!here?.classList.contains("active")) return false;
  const all = [...here.closest(".context").querySelectorAll(".active")];
  const next = all[all.indexOf(here) + step];
  next?.focus();
  return true;
}
