// From the address to the page, and from keys and clicks to the address: #/, #/about, #/latent/12, #/meta/3, each with
// the list's state behind a question mark.

const main = document.querySelector("main"), help = document.querySelector("dialog");

function parseHash() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const view = { name, id: /^\d+$/.test(id ?? "") ? Number(id) : -1 };
  const asked = Object.fromEntries(new URLSearchParams(query));
  const state = usualState(asked.kind === "meta" ? "meta" : "latent", asked.q ?? "");
  const source = sourceOf(state.kind);
  if (Object.hasOwn(source.sorts, asked.sort)) state.sort = asked.sort;
  if (Object.hasOwn(source.filters(), asked.show)) state.show = asked.show;
  if (asked.order === "up") state.order = "up";
  for (const name of ["least", "most"]) {
    if (asked[name] && Number.isFinite(Number(asked[name]))) state[name] = asked[name];
  }
  return { view, state };
}

const currentView = () => parseHash().view;
const pathOf = ({ name, id }) => (id >= 0 ? `#/${name}/${id}` : `#/${name}`);

function hashOf(view, state) {
  const usual = { ...usualState(state.kind, state.q), kind: "latent", q: "" };
  const asked = Object.entries(state).filter(([name, value]) => value !== usual[name]);
  return pathOf(view) + (asked.length ? `?${new URLSearchParams(asked)}` : "");
}

function go(path) {
  const [name, id] = path.replace(/^#\//, "").split("/");
  location.hash = hashOf({ name, id: id === undefined ? -1 : Number(id) }, list.state);
  render(); // at once: the event comes later
}

let shownPath = null;

function render() {
  const { view, state } = parseHash();
  updateList(state);
  const path = pathOf(view);
  if (path === shownPath) return;
  const first = shownPath === null;
  shownPath = path;
  const narrow = matchMedia("(max-width: 899px)").matches, inMain = main.contains(document.activeElement);
  const [title, nodes] = pageOf(view);
  document.body.dataset.view = view.name === "" ? "list" : "page";
  document.title = title;
  tip.hidden = true;
  main.replaceChildren(...nodes);
  main.scrollTop = 0;
  if (narrow) scrollTo(0, 0);
  if (!first && (inMain || narrow && view.name !== "")) main.querySelector("h1")?.focus({ preventScroll: true });
  markRow(view.name === state.kind ? list.found.indexOf(view.id) : -1);
}

function pageOf({ name, id }) {
  const subject = `${data.facts.model} ${data.facts.hook_point}`;
  if (name === "latent" && id >= 0 && id < data.n) return [`Latent ${id} · ${subject}`, latentPage(id)];
  if (name === "meta" && id >= 0 && id < data.nMeta) return [`Meta-latent ${id} · ${subject}`, metaPage(id)];
  if (name === "" || name === "about") return [`${plural(data.n, "latent")} · ${subject}`, aboutPage()];
  const has = `${location.hash} is not in this file, which has latents 0 to ${data.n - 1} and ` +
    `meta-latents 0 to ${data.nMeta - 1}.`;
  return ["Not here", [plainHead("Not here"), el("p", {}, has)]];
}

function step(by) {
  const { name, id } = currentView();
  if (id < 0) return;
  const inList = name === list.state.kind && list.active >= 0;
  const next = inList ? list.found[list.active + by] : id + by;
  if (next >= 0 && next < sourceOf(name).count()) go(sourceOf(name).href(next));
}

function toggleTheme() {
  const { style } = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  style.colorScheme = (style.colorScheme || system) === "dark" ? "light" : "dark";
  try { localStorage.setItem("explorer-theme", style.colorScheme); } catch { /* a frame may have no storage */ }
  drawScatter();
}

function focusSearch() {
  if (!list.parts.search.checkVisibility()) go("#/");
  list.parts.search.focus();
  list.parts.search.select();
}

const ACTIONS = {
  random: () => go(`#/latent/${Math.floor(Math.random() * data.n)}`),
  theme: toggleTheme,
  help: () => help.showModal(),
  expand: expandAll,
};
const KEYS = { "/": focusSearch, "?": ACTIONS.help, r: ACTIONS.random, t: ACTIONS.theme, b: ACTIONS.expand };

function onKey(event) {
  if (help.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input, select"), inList = event.target.closest("aside");
  const action = field ? undefined : KEYS[event.key];
  if (escape(event, field) || arrows(event, field, inList)) event.preventDefault();
  else if (action) {
    event.preventDefault();
    action();
  }
}

function escape(event, field) {
  if (event.key !== "Escape") return false;
  if (field === list.parts.search && field.value) change({ q: "" });
  else if (field) field.blur();
  else go("#/");
  return true;
}

function arrows(event, field, inList) {
  const inSearch = field === list.parts.search;
  if (field && !inSearch) return false;
  const up = { ArrowUp: -1, ArrowDown: 1 }[event.key], across = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (up && inList) return moveRow(up), true;
  if (event.key === "Enter" && inList && (inSearch || event.target === list.parts.rows) && list.found.length) {
    go(sourceOf(list.state.kind).href(list.found[Math.max(0, list.active)]));
    return true;
  }
  if (across && !inSearch) return moveToken(across) || step(across), true;
  return false;
}

// Links go through location.hash: in a notebook's frame the address of the page is not the link's base.
function onClick(event) {
  const button = event.target.closest("[data-do], [data-step]"), link = event.target.closest("a[href^='#']");
  if (button?.dataset.do) ACTIONS[button.dataset.do]();
  else if (button) step(Number(button.dataset.step));
  else if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    if (link.hash === "#main") main.focus();
    else go(link.getAttribute("href"));
  }
}

async function start() {
  const { style } = document.documentElement;
  try { style.colorScheme = localStorage.getItem("explorer-theme") ?? ""; } catch { /* a frame may have no storage */ }
  try {
    await load();
  } catch (error) {
    const fault = `The numbers in this file cannot be unpacked (${error}). A browser of 2024 or later can.`;
    main.replaceChildren(el("p", { role: "alert" }, fault));
    return;
  }
  buildList();
  addEventListener("hashchange", render);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawScatter);
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  render();
  document.documentElement.dataset.ready = data.n;
}

start();
