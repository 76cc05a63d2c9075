// What can be listed: latents and meta-latents, by what they can be sorted and narrowed, and how a query finds them.

const LATENTS = {
  href: (i) => `#/latent/${i}`,
  count: () => data.n,
  noun: "latent",
  sorts: () => ({
    frequency: { label: "Frequency", key: (i) => data.value("firings_frequency", i) },
    ...(data.has("partners") && { shared: { label: "Sharedness", key: (i) => data.value("partners_shared_with", i) } }),
    ...(data.has("composition") && { meta: { label: "Meta-latents", key: (i) => data.metaCount[i] } }),
    maximum: { label: "Largest activation", key: (i) => data.value("firings_maximum", i) },
    index: { label: "Number", key: (i) => -i },
  }),
  filters: () => ({
    all: { label: "All", keep: () => true },
    alive: { label: "Alive", keep: (i) => data.value("firings_frequency", i) > 0 },
    dead: { label: "Dead", keep: (i) => data.value("firings_frequency", i) === 0 },
    ...(data.has("partners") && {
      every: { label: "In every seed", keep: (i) => data.value("partners_shared_with", i) === data.facts.n_others },
      none: { label: "In no other seed", keep: (i) => isAlive(i) && data.value("partners_shared_with", i) === 0 },
    }),
    ...(data.has("novelty") && {
      novel: { label: "Novel", keep: isNovel },
      reconstruction: { label: "Reconstruction", keep: (i) => isAlive(i) && !isNovel(i) },
    }),
  }),
  fields: ["firings_token", "promotes_raised"],
};

const METAS = {
  href: (i) => `#/meta/${i}`,
  count: () => data.nMeta,
  noun: "meta-latent",
  sorts: () => ({
    latents: { label: "Latents", key: (i) => data.users[i].length },
    weight: { label: "Largest weight", key: (i) => data.users[i][0]?.weight ?? 0 },
    index: { label: "Number", key: (i) => -i },
  }),
  filters: () => ({
    all: { label: "All", keep: () => true },
    used: { label: "Used", keep: (i) => data.users[i].length > 0 },
  }),
  fields: ["meta_raised"],
};

const isNovel = (i) => isAlive(i) && data.value("novelty_novel", i) === 1;
const isAlive = (i) => data.value("firings_frequency", i) > 0;
const sourceOf = (kind) => (kind === "meta" ? METAS : LATENTS);

// The numbers of what is listed, in order. A query is a number, or part of a token; in quotes, a whole token. First
// comes the number, then what fires on such a token, then what raises it; each sorted as asked.
function listed({ kind, q, sort, order, show }, wanted) {
  const source = sourceOf(kind), { key } = source.sorts()[sort], { keep } = source.filters()[show];
  const rank = wanted && ranks(source, q, wanted);
  const found = [];
  for (let i = 0; i < source.count(); i++) if (keep(i) && (!rank || rank[i])) found.push(i);
  const sign = order === "up" ? 1 : -1;
  const keys = new Float64Array(source.count());
  for (const i of found) keys[i] = sign * key(i);
  return found.sort((a, b) => (rank ? rank[b] - rank[a] : 0) || keys[a] - keys[b] || a - b);
}

function ranks(source, q, wanted) {
  const rank = new Uint8Array(source.count());
  source.fields.forEach((name, at) => {
    const { values, shape } = data.arrays[name], worth = source.fields.length - at;
    for (let k = 0; k < values.length; k++) {
      if (values[k] >= 0 && wanted[values[k]]) {
        const i = Math.floor(k / shape[1]);
        rank[i] = Math.max(rank[i], worth);
      }
    }
  });
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
