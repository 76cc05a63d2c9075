// A latent beside its partner in the other seed's dictionary: what each fires on, and how that is explained.

const WINDOWS_SHOWN = 5;
let allWindows = false;

// The partners by the two matchings: one if they agree.
function partnersOf(i) {
  const [decoder, encoder] = ["decoder", "encoder"].map((by) => data.value(`partners_${by}_latent`, i));
  if (decoder === encoder) return decoder < 0 ? [] : [{ id: decoder, by: "both matchings", which: "decoder" }];
  return [["decoder", decoder], ["encoder", encoder]].filter(([, id]) => id >= 0)
    .map(([which, id]) => ({ id, by: `the ${which} matching`, which }));
}

function comparePanel(i) {
  if (!isAlive(i)) return null;
  const found = partnersOf(i);
  if (!found.length) return null;
  const note = "Windows are chosen for each by itself, so both columns may show other places of the same text. " +
    "“Together” is the share of the tokens on which either fires on which both do.";
  const more = el("button", {
    type: "button", "aria-pressed": String(allWindows), onclick: () => {
      allWindows = !allWindows;
      panelNode.replaceWith(comparePanel(i));
    },
  }, "All windows");
  const heading = el("div", { class: "heading" },
    el("h2", {}, `Side by side with seed ${data.facts.partner_seed}`), more);
  const partners = found.map(({ id, by, which }) => side(id, "other_", `#${id} in seed ${data.facts.partner_seed}`,
    `by ${by}`, data.value(`other_overlap_${which}`, i)));
  const panelNode = el("section", { class: "panel compare" }, heading,
    el("div", { class: "beside" }, side(i, "", `#${i} in seed ${data.facts.seed}`, "this latent"), partners),
    el("p", { class: "note" }, note));
  return panelNode;
}

function side(id, of, title, by, overlap) {
  const value = (name) => data.value(`${of}firings_${name}`, id);
  const facts = [`fires on ${percent(value("frequency"))}`, `largest ${activation(value("maximum"))}`];
  if (Number.isFinite(overlap)) facts.push(`together ${percent(overlap)}`);
  const strongest = windows(id, of)[0] ?? [];
  return el("div", { class: "one" }, el("h3", {}, title, el("span", { class: "by" }, ` ${by}`)),
    el("p", { class: "facts" }, facts.join(" · ")),
    explanation(id, of, 5),
    el("p", {}, "Activation on ", chips(data.row(`${of}firings_token`, id))),
    el("p", {}, "Raises ", chips(data.row(`${of}promotes_raised`, id).subarray(0, 5))),
    strongest.length ? strongest.slice(0, allWindows ? undefined : WINDOWS_SHOWN).map((c) => contextLine(c, id, of))
      : el("p", {}, "It does not fire on this text."));
}
