// Decoder against encoder cosine of each latent and its partners, as in figure A1. A click opens the nearest latent.

const SPAN = 420, EDGE = 44, NEAR = 12; // pixels: the square, room for the axes, how far from a point a click may be
const THRESHOLD = 0.7;
let scatter = null;

function scatterPanel() {
  const of = (name) => data.arrays[`partners_${name}`].values;
  const xs = of("decoder_cosine"), ys = of("encoder_cosine"), one = of("decoder_latent"), other = of("encoder_latent");
  const points = [];
  for (let i = 0; i < data.n; i++) {
    if (isAlive(i) && Number.isFinite(xs[i] + ys[i])) points.push({ i, x: xs[i], y: ys[i], same: one[i] === other[i] });
  }
  const low = points.reduce((least, { x, y }) => Math.min(least, x, y), 0);
  const canvas = el("canvas", {
    class: "scatter", role: "img", onclick: (event) => {
      const point = nearestPoint(event);
      if (point) go(`#/latent/${point.i}`);
    },
    onmousemove: (event) => tellPoint(nearestPoint(event), event),
    onmouseout: () => { tip.hidden = true; },
    "aria-label": `Cosines of ${plural(points.length, "latent")} and their partners; the list can be sorted by either`,
  });
  scatter = { canvas, points, low };
  const named = (kind, text) => el("span", { class: `key ${kind}` }, text);
  const note = "Only the latents that the list shows are in colour. The lines are at 0.7, which both cosines of a " +
    "shared latent reach. Click a point to open its latent.";
  const keys = [named("same", "both matchings name one partner"), named("differ", "they name two")];
  requestAnimationFrame(drawScatter);
  return panel(`Agreement with seed ${data.facts.partner_seed}`, note, el("p", { class: "keys" }, keys), canvas);
}

const place = ({ x, y }) => {
  const along = (value) => ((value - scatter.low) / (1 - scatter.low)) * (SPAN - EDGE - 8);
  return [EDGE + along(x), SPAN - EDGE - along(y)];
};

function drawScatter() {
  if (!scatter?.canvas.isConnected) return;
  const { canvas, points, low } = scatter, ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = SPAN * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const colour = (name) => {
    canvas.style.color = `var(--${name})`;
    return getComputedStyle(canvas).color;
  };
  const inList = new Uint8Array(data.n);
  if (list.state.kind === "latent") for (const i of list.found) inList[i] = 1;
  else inList.fill(1);
  drawAxes(pen, low, colour);
  const group = { faint: [], same: [], differ: [] };
  for (const point of points) group[inList[point.i] ? (point.same ? "same" : "differ") : "faint"].push(point);
  for (const [name, shade, opacity] of [["faint", "quiet", 0.25], ["same", "bar", 0.8], ["differ", "mark", 0.8]]) {
    pen.fillStyle = colour(shade);
    pen.globalAlpha = opacity;
    for (const point of group[name]) {
      const [x, y] = place(point);
      pen.fillRect(x - 2, y - 2, 4, 4);
    }
  }
  canvas.style.color = "";
}

function drawAxes(pen, low, colour) {
  const [left, bottom] = place({ x: low, y: low }), [right, top] = place({ x: 1, y: 1 });
  const line = (x, y, toX, toY) => { pen.beginPath(); pen.moveTo(x, y); pen.lineTo(toX, toY); pen.stroke(); };
  pen.strokeStyle = colour("quiet");
  pen.strokeRect(left, top, right - left, bottom - top);
  pen.setLineDash([4, 3]);
  const [x, y] = place({ x: THRESHOLD, y: THRESHOLD });
  line(x, bottom, x, top);
  line(left, y, right, y);
  pen.setLineDash([]);
  pen.fillStyle = colour("ink");
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const at of [0, 0.5, 1]) pen.fillText(String(at), place({ x: at, y: low })[0], bottom + 14);
  pen.fillText("decoder cosine", (left + right) / 2, bottom + 29);
  pen.textAlign = "right";
  for (const at of [0, 0.5, 1]) pen.fillText(String(at), left - 4, place({ x: low, y: at })[1] + 4);
  pen.save();
  pen.translate(11, (top + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText("encoder cosine", 0, 0);
  pen.restore();
}

// The point nearest to the mouse, those of the list first; none farther than NEAR.
function nearestPoint(event) {
  const box = scatter.canvas.getBoundingClientRect(), scale = SPAN / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  let best = null, least = NEAR;
  for (const point of scatter.points) {
    const [a, b] = place(point), far = Math.hypot(a - x, b - y);
    if (far < least) [best, least] = [point, far];
  }
  return best;
}

function tellPoint(point, event) {
  scatter.canvas.style.cursor = point ? "pointer" : "";
  if (!point) { tip.hidden = true; return; }
  const tokens = Array.from(data.row("firings_token", point.i)).filter((id) => id >= 0).slice(0, 3);
  tip.textContent = `#${point.i} ${tokens.map((id) => marked(data.tokens[id])).join("  ")} · decoder ` +
    `${cosine(point.x)}, encoder ${cosine(point.y)}`;
  tip.hidden = false;
  const own = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 12, document.documentElement.clientWidth - own.width - 4)}px`;
  tip.style.top = `${event.clientY + 14}px`;
}
