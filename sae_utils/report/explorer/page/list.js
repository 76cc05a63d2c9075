// The list beside the page: only the rows in sight are in the document, so its length does not matter.

const ROW_HEIGHT = 80; // pixels

// The first view: latents that are worth a look, if there are any; a search is among all.
function usualState(kind, q) {
  const source = sourceOf(kind), [sort] = Object.keys(source.sorts);
  const show = kind === "latent" && !q && anyWorth() ? "worth" : "all";
  return { kind, q, sort, order: "down", show, least: "", most: "" };
}

let worthThere = null;
const anyWorth = () => (worthThere ??= count(isWorth) > 0);

const list = { state: null, wanted: null, found: [], active: -1, parts: null, drawn: new Map() };

function buildList() {
  const parts = list.parts = {
    tabs: el("div", { class: "tabs", role: "group", "aria-label": "What is listed" }),
    search: el("input", {
      type: "search", placeholder: "Token, role or number", "aria-label": "Search by token, role or number",
      spellcheck: "false", autocomplete: "off", oninput: searched,
    }),
    sort: el("select", { "aria-label": "Sort by", onchange: () => change({ sort: parts.sort.value }) }),
    order: el("button", {
      type: "button", "aria-label": "Reverse the order", title: "Reverse the order",
      onclick: () => change({ order: list.state.order === "up" ? "down" : "up" }),
    }),
    show: el("select", { "aria-label": "Show", onchange: () => change({ show: parts.show.value }) }),
    least: bound("least", "fires on at least so many percent of the tokens", "0"),
    most: bound("most", "fires on at most so many percent of the tokens", "100"),
    means: el("p", { class: "means" }),
    count: el("p", { class: "count", role: "status" }),
    save: el("button", {
      type: "button", class: "save", title: "This list as a CSV file", "aria-label": "This list as a CSV file",
      onclick: exportList,
    }, "CSV"),
    empty: el("div", { class: "empty" }),
    rows: el("div", { class: "rows", tabindex: "0", role: "listbox", "aria-label": "Latents", onscroll: drawRows }),
    space: el("div", { class: "space", role: "presentation" }),
  };
  parts.rows.append(parts.space);
  const controls = el("div", { class: "controls" }, parts.sort, parts.order, parts.show);
  parts.bounds = el("div", { class: "bounds" }, "fires on ", parts.least, " to ", parts.most, " % of tokens");
  const told = el("div", { class: "counted" }, parts.count, parts.save);
  const all = [parts.tabs, parts.search, controls, parts.bounds, parts.means, told, parts.empty, parts.rows];
  document.querySelector("aside").append(...all);
  new ResizeObserver(drawRows).observe(parts.rows);
}

function bound(name, label, placeholder) {
  const field = el("input", {
    type: "number", min: "0", max: "100", step: "any", placeholder, "aria-label": label,
    oninput: () => change({ [name]: field.value }),
  });
  return field;
}

function searched() {
  const q = list.parts.search.value;
  change(q && list.state.show === "worth" ? { q, show: "all" } : { q });
}

// Another list in the same entry of the history. A hash alone would be found from the document's base, which in a
// notebook's frame is the notebook's address.
function change(changes) {
  const next = { ...list.state, ...changes };
  if (changes.kind) Object.assign(next, usualState(changes.kind, ""));
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
  fill(parts.sort, source.sorts, state.sort);
  fill(parts.show, source.filters(), state.show);
  if (parts.search.value !== state.q) parts.search.value = state.q;
  parts.order.textContent = state.order === "up" ? "↑" : "↓";
  parts.order.setAttribute("aria-pressed", String(state.order === "up"));
  parts.rows.setAttribute("aria-label", `${source.noun}s`);
  parts.tabs.replaceChildren(tab("latent"), tab("meta"));
  const n = list.found.length, all = plural(source.count(), source.noun);
  parts.count.textContent = n === source.count() ? all : `${whole(n)} of ${all}`;
  parts.means.textContent = source.filters()[state.show].means ?? "";
  parts.bounds.hidden = !source.often;
  for (const name of ["least", "most"]) if (parts[name].value !== state[name]) parts[name].value = state[name];
  parts.empty.hidden = n > 0;
  parts.save.disabled = n === 0;
  parts.empty.replaceChildren(...(n ? [] : nothing(state, source)));
  parts.space.style.height = `${list.found.length * ROW_HEIGHT}px`;
  parts.rows.scrollTop = 0;
  list.active = -1;
  parts.space.replaceChildren();
  list.drawn.clear();
  drawRows();
  drawScatter();
}

// What an empty list says, and the way out of it.
function nothing({ kind, q, show, least, most }, source) {
  const narrowed = show !== "all" || least !== "" || most !== "";
  const where = kind === "meta" ? "raises a token with"
    : "has its activation on, is explained by or raises a token with";
  const said = q.trim() ? `No ${source.noun}${narrowed ? " among these" : ""} ${where} “${visible(q.trim())}”.`
    : `No ${source.noun} is like that.`;
  const wide = { show: "all", least: "", most: "" }, search = q.trim() && narrowed;
  return [el("p", {}, said), el("button", {
    type: "button", onclick: () => change(search ? wide : { ...wide, q: "" }),
  }, search ? `Search all ${source.noun}s` : `Show all ${source.noun}s`)];
}

function tab(kind) {
  const pressed = String(list.state.kind === kind), { count, noun } = sourceOf(kind);
  const attributes = { type: "button", "aria-pressed": pressed, onclick: () => change({ kind }) };
  return el("button", attributes, plural(count(), noun));
}

// A row that stays in sight stays in the document: a click on one that was replaced in the middle of it would be lost.
function drawRows() {
  const { rows, space } = list.parts;
  const first = Math.max(0, Math.floor(rows.scrollTop / ROW_HEIGHT) - 5);
  const last = Math.min(list.found.length, Math.ceil((rows.scrollTop + rows.clientHeight) / ROW_HEIGHT) + 5);
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
  row.style.top = `${at * ROW_HEIGHT}px`;
  row.style.height = `${ROW_HEIGHT}px`;
  return row;
}

function latentRow(i) {
  const facts = isAlive(i) ? [
    `fires on ${percent(data.value("firings_frequency", i))}`,
    `shared ${data.value("partners_shared_with", i)}/${data.facts.n_others}`, `${data.metaCount[i]} meta`,
  ] : ["dead"];
  const fires = data.row("firings_token", i), raised = foundIn(data.row("promotes_raised", i));
  const onlyRaises = raised.length && !foundIn(fires).length;
  const raises = onlyRaises ? ["raises ", chip(raised[0], { class: "token hit" }), " · "] : [];
  const told = el("span", { class: "facts" }, raises, facts.join(" · "));
  return [el("span", { class: "index" }, `#${i}`), rowChips(fires), rowRule(i), told];
}

function rowRule(i) {
  const rule = ruleOf(i);
  return rule && el("span", { class: "rule" }, el("b", {}, fixed(score(i), 2)), " ", ruleWords(rule, 4, list.wanted));
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
  const { rows } = list.parts, top = at * ROW_HEIGHT;
  if (at >= 0 && (top < rows.scrollTop || top + ROW_HEIGHT > rows.scrollTop + rows.clientHeight)) {
    rows.scrollTop = top - (rows.clientHeight - ROW_HEIGHT) / 2;
  }
  drawRows();
}

const moveRow = (step) => markRow(Math.min(list.found.length - 1, Math.max(0, list.active + step)));
