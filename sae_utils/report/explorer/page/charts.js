// Bars of plain elements: they take the page's colours and sizes by themselves.

// Columns with counts on a log scale, each with its count on hover; `ends` are the labels below the first and the last.
// `pick` is told which column is clicked.
function columns(counts, { ends, what, describe, label, pick }) {
  const most = Math.max(1, ...counts);
  const height = (count) => `${(100 * Math.log1p(count)) / Math.log1p(most)}%`;
  const bars = Array.from(counts, (count, i) =>
    el("span", {
      class: pick ? "column picked" : "column", "data-tip": `${describe(i)}: ${whole(count)}`,
      onclick: pick && (() => pick(i)),
    },
      el("span", { class: "fill", height: count ? height(count) : "0%" })));
  return el("figure", { class: "chart" },
    el("div", { class: "most" }, whole(most)),
    el("div", { class: "columns", role: "img", "aria-label": label }, bars),
    el("div", { class: "ends" }, el("span", {}, ends[0]), el("span", {}, what), el("span", {}, ends[1])));
}

// Rows of a name, a bar from 0 and a number.
function bars(rows) {
  const most = Math.max(...rows.map(({ value }) => Math.abs(value)), 1e-12);
  return el("ul", { class: "bars" }, rows.map(({ name, value, text, down, tip }) =>
    el("li", { "data-tip": tip }, name,
      el("span", { class: down ? "bar down" : "bar", "aria-hidden": "true" },
        el("span", { class: "fill", width: `${(100 * Math.abs(value)) / most}%` })),
      number(text))));
}

function promoted(group, i) {
  const side = (which, down) => {
    const logits = data.row(`${group}_${which}_logit`, i);
    return bars(Array.from(data.row(`${group}_${which}`, i), (id, at) =>
      ({ name: chip(id), value: logits[at], text: fixed(logits[at], 2), down })));
  };
  return el("div", { class: "sides" },
    el("div", { class: "raised" }, el("h3", {}, "Raised"), side("raised", false)),
    el("div", { class: "lowered" }, el("h3", {}, "Lowered"), side("lowered", true)));
}

const PROMOTED_NOTE = "The decoder row by itself through the last norm and the unembedding: its logits, less their " +
  "mean over the vocabulary. What later layers make of it is left out.";
