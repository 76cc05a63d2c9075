// The page of one meta-latent.

const USERS_SHOWN = 60, USERS_IN_TEXT = 8, WINDOWS_OF_EACH = 3;

function metaPage(i) {
  const users = data.users[i];
  const entries = [
    ["Latents", whole(users.length)], ["Share of all", percent(users.length / data.n)],
    ["Largest weight", users.length ? fixed(users[0].weight, 3) : "–"],
  ];
  return [
    pageHead(`Meta-latent ${i}`, "meta"),
    statistics(entries),
    el("div", { class: "page" },
      el("div", { class: "body" }, usersPanel(users), usersContextsPanel(users)),
      el("div", { class: "side" }, panel("Next tokens that it promotes", PROMOTED_NOTE, promoted("meta", i)))),
  ];
}

function usersPanel(users) {
  const drawn = (some) => bars(some.map(({ latent, weight }) =>
    ({ name: latentLink(latent), value: weight, text: fixed(weight, 3) })));
  const rows = el("div", { class: "users" }, users.length ? drawn(users.slice(0, USERS_SHOWN)) : el("p", {}, "None."));
  const more = users.length > USERS_SHOWN && el("button", {
    type: "button", onclick: () => { rows.replaceChildren(drawn(users)); more.remove(); },
  }, `Show all ${whole(users.length)}`);
  const note = "Weights: the meta-SAE's activations on the latents' decoder rows. Beside each, the tokens that hold " +
    "most of its activation.";
  return panel("Latents that are made of it", note, rows, more);
}

// What the latents of a meta-latent have in common shows best where they fire.
function usersContextsPanel(users) {
  if (!users.length) return null;
  const of = users.slice(0, USERS_IN_TEXT).filter(({ latent }) => isAlive(latent)).map(({ latent, weight }) =>
    el("section", { class: "contexts" },
      el("h3", {}, latentLink(latent), ` weight ${fixed(weight, 3)}`),
      explanation(latent, "", 6),
      windows(latent)[0].slice(0, WINDOWS_OF_EACH).map((c) => contextLine(c, latent))));
  return panel("Where those latents fire", `Strongest firings of the ${of.length} with the largest weights.`, of);
}
