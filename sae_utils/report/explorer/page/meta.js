// The page of one meta-latent.

const USERS_SHOWN = 60;

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
      el("div", { class: "body" }, usersPanel(users)),
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
  const note = "Weights: the meta-SAE's activations on the latents' decoder rows. Beside each, the tokens it fires on.";
  return panel("Latents that are made of it", note, rows, more);
}
