// Elements, and numbers and tokens as text. Nothing here or elsewhere writes HTML: tokens reach the page as text alone.

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--") || name === "width" || name === "height") node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const whole = (x) => x.toLocaleString("en-US");
const minus = (text) => text.replace("-", "−");
const fixed = (x, digits) => minus(x.toFixed(digits));
const cosine = (x) => fixed(x, 3);
const activation = (x) => fixed(x, 2);
const percent = (x) => (x === 0 ? "0 %" : `${(100 * x).toPrecision(3)} %`);
const number = (text) => el("span", { class: "number" }, text);
const plural = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;

// Characters that move or hide other text, or are not seen themselves (DI: ignorable by default), by their code.
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{DI}]/gu;

function code(c) {
  const point = c.codePointAt(0).toString(16);
  return point.length > 4 ? `\\u{${point}}` : `\\u${point.padStart(4, "0")}`;
}

const visible = (text) => text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(UNSEEN, code);

// In running text spaces stay; alone, where a space at the start matters, they are marked.
function marked(text) {
  return visible(text).replace(/ +/g, (run) => (run.length < 3 ? "␣".repeat(run.length) : `␣×${run.length}`));
}

function chip(id, attributes = {}) {
  return el("span", { class: "token", ...attributes }, id < 0 ? "" : marked(data.tokens[id]));
}

function chips(ids) {
  return el("span", { class: "tokens" }, Array.from(ids).filter((id) => id >= 0).map((id) => chip(id)));
}

function latentLink(i) {
  return el("a", { class: "latent-link", href: `#/latent/${i}` },
    el("span", { class: "index" }, `#${i}`), chips(data.row("firings_token", i).subarray(0, 3)));
}

function metaLink(i) {
  return el("a", { class: "latent-link", href: `#/meta/${i}` },
    el("span", { class: "index" }, `m${i}`), chips(data.row("meta_raised", i).subarray(0, 3)));
}

function panel(title, note, ...children) {
  return el("section", { class: "panel" }, el("h2", {}, title), children, note && el("p", { class: "note" }, note));
}

const tip = document.querySelector(".tip");

function showTip(target) {
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const box = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(4, box.left), document.documentElement.clientWidth - own.width - 4);
  const above = box.top - own.height - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above < 4 ? box.bottom + 6 : above}px`;
}

for (const [come, go] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
  document.addEventListener(come, (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target) showTip(target);
  });
  document.addEventListener(go, () => { tip.hidden = true; });
}
