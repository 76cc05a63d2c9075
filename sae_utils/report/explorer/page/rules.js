// Explanations: the best simple rule about the text for when a latent fires, and how well it tells that.

const SCORE = "balanced accuracy of this rule on the half of the text where it was not chosen: 0.5 is guessing, 1 is " +
  "always right";

const score = (i, of = "") => data.value(`${of}rules_score`, i);

// The rule's label and the values that the file holds, as text; null where a latent has no score.
function ruleOf(i, of = "") {
  const kind = data.value(`${of}rules_kind`, i);
  if (kind < 0) return null;
  const there = (name) => Array.from(data.row(`${of}rules_${name}`, i)).filter((id) => id >= 0);
  const tokens = there("token"), roles = there("role").map((id) => data.facts.roles[id]);
  const size = data.value(`${of}rules_size`, i);
  return { label: data.facts.rule_kinds[kind], tokens, roles, size };
}

// “token is a, b or 12 more” as nodes; tokens that the search found are marked.
function ruleWords({ label, tokens, roles, size }, shown, wanted = null) {
  if (!size) return ["no rule is better than guessing"];
  const found = (id) => (wanted?.[id] ? "token hit" : "token");
  const order = [...tokens].sort((a, b) => Boolean(wanted?.[b]) - Boolean(wanted?.[a]));
  const values = [...order.map((id) => chip(id, { class: found(id) })), ...roles.map((name) => el("i", {}, name))];
  const left = size - Math.min(shown, values.length);
  const named = values.slice(0, shown).flatMap((value) => [value, " "]);
  return [`${label} is `, named, left > 0 && `or ${whole(left)} more`];
}

const ruleText = ({ label, tokens, roles, size }) => {
  const values = [...tokens.map((id) => JSON.stringify(data.tokens[id])), ...roles];
  const left = size - values.length;
  return size ? `${label} is ${values.join(", ")}${left > 0 ? ` or ${left} more` : ""}` : "";
};

const ALL = 12; // values of a rule that the file holds

function explanation(i, of = "", shown = ALL) {
  if (!of && !isAlive(i)) return null;
  const rule = ruleOf(i, of);
  const none = "No explanation: it fires on too few tokens, or on nearly all, for a rule to be scored.";
  if (!rule) return el("p", { class: "explanation quiet" }, none);
  const random = of || shown < ALL ? NaN : data.value("rules_random", i);
  const beside = Number.isFinite(random) && ` a random direction that fires as often has ${fixed(random, 2)}`;
  return el("p", { class: "explanation" }, "Explained by: ", ruleWords(rule, shown),
    el("span", { class: "score", "data-tip": SCORE, tabindex: 0 }, `score ${fixed(score(i, of), 2)}`),
    beside && el("span", { class: "beside-score" }, beside));
}

// Latents to begin with: they fire moderately seldom, and a rule says when, better than it does of a random direction.
const WORTH = { score: 0.8, least: 1e-4, most: 0.05 };

function isWorth(i) {
  const often = data.value("firings_frequency", i);
  if (often < WORTH.least || often > WORTH.most) return false;
  return score(i) >= WORTH.score && !(score(i) <= data.value("rules_random", i));
}

const worthMeans = () => `Fires on ${100 * WORTH.least} % to ${100 * WORTH.most} % of the tokens, ` +
  `and a rule about the text tells when: its score is at least ${WORTH.score}.`;
