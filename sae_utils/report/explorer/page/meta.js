// The page of one meta-latent.

const USERS_SHOWN = 60;

function metaPage(i) {
  const users = data.users[i];
  const rows = (some) => some.map(({ latent, weight }) => ({ name: latentLink(latent), value: weight, text: fixed(weight, 3) }));
  const body = el("div", {}, users.length ? bars(rows(users.slice(0, USERS_SHOWN))) : el("p", {}, "None."));
  const more = users.length > USERS_SHOWN && el("button", {
    type: "button", onclick: () => { body.replaceChildren(bars(rows(users))); more.remove(); },
  }, `Show all ${whole(users.length)}`);
  const entries = [
    ["Latents", whole(users.length)], ["Share of all", percent(users.length / data.n)],
    ["Largest weight", users.length ? fixed(users[0].weight, 3) : "–"],
  ];
  return [
    pageHead(`Meta-latent ${i}`, "meta", i),
    el("dl", { class: "statistics" }, entries.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, number(text))))),
    el("div", { class: "page" },
      el("div", { class: "body" }, el("section", { class: "panel users" }, el("h2", {}, "Latents that are made of it"), body, more,
        el("p", { class: "note" }, "Weights: the meta-SAE's activations on the latents' decoder rows. Beside each latent, the tokens it fires on."))),
      el("div", { class: "side" }, panel("Next tokens that it promotes", PROMOTED_NOTE, promoted("meta", i)))),
  ];
}
