// What can be listed: latents and meta-latents, by what they can be sorted and narrowed, and how a query finds them.

const LATENTS = {
  href: (i) => `#/latent/${i}`,
  count: () => data.n,
  noun: "latent",
  sorts: {
    score: { label: "Explanation", key: (i) => score(i) },
    frequency: { label: "Frequency", key: (i) => data.value("firings_frequency", i) },
    shared: { label: "Sharedness", key: (i) => data.value("partners_shared_with", i) },
    decoder: { label: "Decoder cosine", key: (i) => data.value("partners_decoder_cosine", i) },
    encoder: { label: "Encoder cosine", key: (i) => data.value("partners_encoder_cosine", i) },
    meta: { label: "Meta-latents", key: (i) => data.metaCount[i] },
    maximum: { label: "Largest activation", key: (i) => data.value("firings_maximum", i) },
    index: { label: "Number", key: (i) => -i },
  },
  filters: () => ({
    worth: { label: "Worth a look", keep: isWorth, means: worthMeans() },
    all: { label: "All", keep: () => true },
    alive: { label: "Alive", keep: isAlive, means: "Fires on at least one token of the held-out text." },
    dead: { label: "Dead", keep: (i) => !isAlive(i), means: "Fires on no token of the held-out text." },
    every: { label: "In every seed", keep: inEvery, means: `Shared with each other seed's dictionary: ${STRICT}.` },
    none: { label: "In no other seed", keep: inNone, means: `Shared with no other seed's dictionary: ${STRICT}.` },
    novel: { label: "Novel", keep: isNovel, means: novelMeans() },
    reconstruction: { label: "Reconstruction", keep: (i) => isAlive(i) && !isNovel(i), means: reconstructionMeans() },
  }),
  fields: ["firings_token", "rules_token", "promotes_raised"],
  often: (i) => data.value("firings_frequency", i),
};

const METAS = {
  href: (i) => `#/meta/${i}`,
  count: () => data.nMeta,
  noun: "meta-latent",
  sorts: {
    latents: { label: "Latents", key: (i) => data.users[i].length },
    weight: { label: "Largest weight", key: (i) => data.users[i][0]?.weight ?? 0 },
    index: { label: "Number", key: (i) => -i },
  },
  filters: () => ({
    all: { label: "All", keep: () => true },
    used: { label: "Used", keep: (i) => data.users[i].length > 0 },
  }),
  fields: ["meta_raised"],
};

const STRICT = "one partner by both matchings, both cosines at least 0.7";
const inEvery = (i) => data.value("partners_shared_with", i) === data.facts.n_others;
const inNone = (i) => isAlive(i) && data.value("partners_shared_with", i) === 0;

const isNovel = (i) => isAlive(i) && data.value("novelty_novel", i) === 1;
const isAlive = (i) => data.value("firings_frequency", i) > 0;
const sourceOf = (kind) => (kind === "meta" ? METAS : LATENTS);

// The numbers of what is listed, in order. A query is a number, or part of a token; in quotes, a whole token. First
// comes the number, then whose activation is on such a token, then whose explanation names it (or a role of that
// name), then what raises it; each sorted as asked, those without a value last. Bounds are percents of the tokens.
function listed({ kind, q, sort, order, show, least, most }, wanted) {
  const source = sourceOf(kind), { key } = source.sorts[sort], { keep } = source.filters()[show];
  const rank = wanted && ranks(source, q, wanted);
  const low = least === "" ? -Infinity : least / 100, high = most === "" ? Infinity : most / 100;
  const within = source.often ? (i) => source.often(i) >= low && source.often(i) <= high : () => true;
  const found = [];
  for (let i = 0; i < source.count(); i++) if (keep(i) && within(i) && (!rank || rank[i])) found.push(i);
  const sign = order === "up" ? 1 : -1;
  const keys = new Float64Array(source.count());
  for (const i of found) {
    const value = sign * key(i);
    keys[i] = Number.isNaN(value) ? Infinity : value;
  }
  const byKey = (a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b);
  return found.sort((a, b) => (rank ? rank[b] - rank[a] : 0) || byKey(a, b));
}

function ranks(source, q, wanted) {
  const rank = new Uint8Array(source.count());
  const mark = ({ values, shape }, named, worth) => {
    for (let k = 0; k < values.length; k++) {
      if (values[k] >= 0 && named[values[k]]) {
        const i = Math.floor(k / shape[1]);
        rank[i] = Math.max(rank[i], worth);
      }
    }
  };
  const { fields } = source;
  fields.forEach((name, at) => mark(data.arrays[name], wanted, fields.length - at));
  if (fields.includes("rules_token")) {
    const text = q.trim().toLowerCase();
    mark(data.arrays.rules_role, data.facts.roles.map((name) => name.includes(text)), 2);
  }
  const asNumber = /^#?(\d+)$/.exec(q.trim());
  if (asNumber && Number(asNumber[1]) < rank.length) rank[Number(asNumber[1])] = 9;
  return rank;
}

function tokensMatching(q) {
  const quoted = /^"(.*)"$/s.exec(q.trim());
  const test = quoted ? (text) => text === quoted[1] || text.trim() === quoted[1]
    : (text) => text.toLowerCase().includes(q.trim().toLowerCase());
  return data.tokens.map(test);
}
