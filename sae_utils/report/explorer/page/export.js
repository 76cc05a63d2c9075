// The list as a file of comma-separated values: a row for each latent that it shows, in its order.

const exact = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(6))) : "");

const numberOf = (i) => (i < 0 ? "" : i);

// Texts as JSON, in which no spreadsheet sees a formula.
const texts = (ids) => JSON.stringify(Array.from(ids).filter((id) => id >= 0).map((id) => data.tokens[id]));

const EXPORTED = {
  latent: [
    ["latent", (i) => i],
    ["fires_on_share", (i) => exact(data.value("firings_frequency", i))],
    ["mean_activation", (i) => exact(data.value("firings_mean", i))],
    ["largest_activation", (i) => exact(data.value("firings_maximum", i))],
    ["activation_on", (i) => texts(data.row("firings_token", i))],
    ["raises", (i) => texts(data.row("promotes_raised", i))],
    ["rule", (i) => ruleText(ruleOf(i) ?? { size: 0, tokens: [], roles: [] })],
    ["rule_score", (i) => exact(score(i))],
    ["rule_score_random", (i) => exact(data.value("rules_random", i))],
    ["shared_with", (i) => data.value("partners_shared_with", i)],
    ["strict", (i) => data.value("partners_strict", i)],
    ...["decoder", "encoder"].flatMap((by) => [
      [`${by}_partner`, (i) => numberOf(data.value(`partners_${by}_latent`, i))],
      [`${by}_cosine`, (i) => exact(data.value(`partners_${by}_cosine`, i))],
    ]),
    ["novel", (i) => Number(isNovel(i))],
    ["squared_error_change", (i) => exact(data.value("novelty_mse_change", i))],
    ["meta_latents", (i) => data.metaCount[i]],
    ["fires_with", (i) => JSON.stringify(Array.from(data.row("together_latent", i)).filter((id) => id >= 0))],
  ],
  meta: [
    ["meta_latent", (i) => i],
    ["latents", (i) => data.users[i].length],
    ["largest_weight", (i) => exact(data.users[i][0]?.weight ?? 0)],
    ["raises", (i) => texts(data.row("meta_raised", i))],
    ["made_of_it", (i) => JSON.stringify(data.users[i].map(({ latent }) => latent))],
  ],
};

function asTable(kind, found) {
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const fields = EXPORTED[kind];
  const rows = found.map((i) => fields.map(([, of]) => cell(String(of(i)))).join(","));
  return [fields.map(([name]) => name).join(","), ...rows, ""].join("\r\n");
}

function exportList() {
  const url = URL.createObjectURL(new Blob([asTable(list.state.kind, list.found)], { type: "text/csv;charset=utf-8" }));
  el("a", { href: url, download: `${sourceOf(list.state.kind).noun}s.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
