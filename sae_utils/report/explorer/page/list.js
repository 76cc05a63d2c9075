// The list beside the page: only the rows in sight are in the document, so its length does not matter.

const ROW = 58; // pixels; style.css has the same
const DEFAULTS = { kind: "latent", q: "", sort: "frequency", order: "down", show: "all" };
const list = { state: null, wanted: null, found: [], active: -1, parts: null, drawn: new Map() };

function buildList() {
  const parts = list.parts = {
    tabs: el("div", { class: "tabs", role: "group", "aria-label": "What is listed" }),
    search: el("input", {
      type: "search", placeholder: "Token or number", "aria-label": "Search by token or number", spellcheck: "false",
      autocomplete: "off", oninput: () => change({ q: parts.search.value }),
    }),
    sort: el("select", { "aria-label": "Sort by", onchange: () => change({ sort: parts.sort.value }) }),
    order: el("button", {
      type: "button", "aria-label": "Reverse the order", title: "Reverse the order",
      onclick: () => change({ order: list.state.order === "up" ? "down" : "up" }),
    }),
    show: el("select", { "aria-label": "Show", onchange: () => change({ show: parts.show.value }) }),
    count: el("p", { class: "count", role: "status" }),
    rows: el("div", { class: "rows", tabindex: "0", role: "listbox", "aria-label": "Latents", onscroll: drawRows }),
    space: el("div", { class: "space", role: "presentation" }),
  };
  parts.rows.append(parts.space);
  const controls = el("div", { class: "controls" }, parts.sort, parts.order, parts.show);
  document.querySelector("aside").append(parts.tabs, parts.search, controls, parts.count, parts.rows);
  new ResizeObserver(drawRows).observe(parts.rows);
}

// Another list in the same entry of the history. A hash alone would be found from the document's base, which in a
// notebook's frame is the notebook's address.
function change(changes) {
  const next = { ...list.state, ...changes };
  if (changes.kind) Object.assign(next, { sort: Object.keys(sourceOf(changes.kind).sorts())[0], show: "all", q: "" });
  location.replace(location.href.split("#")[0] + hashOf(currentView(), next));
}

function updateList(state) {
  if (list.state && JSON.stringify(state) === JSON.stringify(list.state)) return;
  const source = sourceOf(state.kind), { parts } = list;
  const fill = (select, options, value) => {
    select.replaceChildren(...Object.entries(options).map(([name, { label }]) => el("option", { value: name }, label)));
    select.value = value;
  };
  list.state = state;
  list.wanted = state.q.trim() ? tokensMatching(state.q) : null;
  list.found = listed(state, list.wanted);
  fill(parts.sort, source.sorts(), state.sort);
  fill(parts.show, source.filters(), state.show);
  if (parts.search.value !== state.q) parts.search.value = state.q;
  parts.order.textContent = state.order === "up" ? "↑" : "↓";
  parts.order.setAttribute("aria-pressed", String(state.order === "up"));
  parts.rows.setAttribute("aria-label", `${source.noun}s`);
  parts.tabs.replaceChildren(...(data.nMeta ? ["latent", "meta"].map(tab) : []));
  const n = list.found.length, all = plural(source.count(), source.noun);
  parts.count.textContent = n === source.count() ? all : `${whole(n)} of ${all}`;
  parts.space.style.height = `${list.found.length * ROW}px`;
  parts.rows.scrollTop = 0;
  list.active = -1;
  parts.space.replaceChildren();
  list.drawn.clear();
  drawRows();
}

function tab(kind) {
  const pressed = String(list.state.kind === kind), { count, noun } = sourceOf(kind);
  const attributes = { type: "button", "aria-pressed": pressed, onclick: () => change({ kind }) };
  return el("button", attributes, plural(count(), noun));
}

// A row that stays in sight stays in the document: a click on one that was replaced in the middle of it would be lost.
function drawRows() {
  const { rows, space } = list.parts;
  const first = Math.max(0, Math.floor(rows.scrollTop / ROW) - 5);
  const last = Math.min(list.found.length, Math.ceil((rows.scrollTop + rows.clientHeight) / ROW) + 5);
  for (const [at, row] of list.drawn) {
    if (at >= first && at < last) continue;
    row.remove();
    list.drawn.delete(at);
  }
  for (let at = last - 1; at >= first; at--) {
    if (!list.drawn.has(at)) {
      list.drawn.set(at, drawRow(at));
      space.insertBefore(list.drawn.get(at), list.drawn.get(at + 1) ?? null);
    }
    list.drawn.get(at).setAttribute("aria-selected", String(at === list.active));
  }
  const marked = list.drawn.get(list.active);
  if (marked) rows.setAttribute("aria-activedescendant", marked.id);
  else rows.removeAttribute("aria-activedescendant");
}

function drawRow(at) {
  const i = list.found[at], meta = list.state.kind === "meta";
  const row = el("a", {
    class: "row", id: `row-${at}`, href: sourceOf(list.state.kind).href(i), role: "option", tabindex: "-1",
    "aria-setsize": list.found.length, "aria-posinset": at + 1,
  }, meta ? metaRow(i) : latentRow(i));
  row.style.top = `${at * ROW}px`;
  return row;
}

function latentRow(i) {
  const facts = [`fires on ${percent(data.value("firings_frequency", i))}`];
  if (!isAlive(i)) facts[0] = "dead";
  else if (data.has("partners")) facts.push(`shared ${data.value("partners_shared_with", i)}/${data.facts.n_others}`);
  if (isAlive(i) && data.has("composition")) facts.push(`${data.metaCount[i]} meta`);
  const fires = data.row("firings_token", i), raised = foundIn(data.row("promotes_raised", i));
  const onlyRaises = raised.length && !foundIn(fires).length;
  const raises = onlyRaises ? ["raises ", chip(raised[0], { class: "token hit" }), " · "] : [];
  const told = el("span", { class: "facts" }, raises, facts.join(" · "));
  return [el("span", { class: "index" }, `#${i}`), rowChips(fires), told];
}

const foundIn = (ids) => (list.wanted ? Array.from(ids).filter((id) => id >= 0 && list.wanted[id]) : []);

// Four tokens; those that the search found come first, and are marked.
function rowChips(ids) {
  const found = foundIn(ids), others = Array.from(ids).filter((id) => id >= 0 && !found.includes(id));
  const marks = found.map((id) => chip(id, { class: "token hit" }));
  return el("span", { class: "tokens" }, [...marks, ...others.map((id) => chip(id))].slice(0, 4));
}

function metaRow(i) {
  return [
    el("span", { class: "index" }, `m${i}`), rowChips(data.row("meta_raised", i)),
    el("span", { class: "facts" }, plural(data.users[i].length, "latent")),
  ];
}

// Marks the row of what the page shows, and brings it in sight.
function markRow(at) {
  list.active = at;
  const { rows } = list.parts, top = at * ROW;
  if (at >= 0 && (top < rows.scrollTop || top + ROW > rows.scrollTop + rows.clientHeight)) {
    rows.scrollTop = top - (rows.clientHeight - ROW) / 2;
  }
  drawRows();
}

const moveRow = (step) => markRow(Math.min(list.found.length - 1, Math.max(0, list.active + step)));
