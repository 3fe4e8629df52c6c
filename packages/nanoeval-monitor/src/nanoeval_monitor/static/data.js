// Where the page's data come from: the monitor's server, or the files of a static export.

const exported = globalThis.nanoevalExport;

export const isExport = Boolean(exported);

export class Missing extends Error {}

function takeToken() {
  const found = /[#?&]token=([\w-]+)/.exec(location.hash + location.search);
  if (found) {
    sessionStorage.setItem("nanoeval-token", found[1]);
    const hash = location.hash.replace(/[#&]?token=[\w-]+/, "");
    history.replaceState(null, "", location.pathname + (hash || "#/"));
  }
}
if (!isExport) takeToken();

export const token = () => (isExport ? null : sessionStorage.getItem("nanoeval-token"));

async function fetched(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token()) headers["x-nanoeval-token"] = token();
  const response = await fetch(path, { ...options, headers });
  const text = await response.text();
  if (!response.ok) {
    let message = text;
    try {
      message = JSON.parse(text).error;
    } catch {
      // not one of ours: shown as it is
    }
    throw response.status === 404 ? new Missing(message) : new Error(message);
  }
  return JSON.parse(text);
}

const part = encodeURIComponent;
const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== undefined && value !== null)).toString();

const server = {
  live: () => fetched("api/live"),
  runs: () => fetched("api/runs"),
  run: (key) => fetched(`api/runs/${part(key)}`),
  samples: (key, asked) => fetched(`api/runs/${part(key)}/samples?${query(asked)}`),
  transcript: (key, sample, whole) => fetched(`api/runs/${part(key)}/transcript?${query({ sample, whole: whole ? 1 : "" })}`),
  compare: (keys) => fetched(`api/compare?${query({ runs: keys.join(",") })}`),
  setLimit: (runSet, evalId, limit) =>
    fetched(`api/live/${part(runSet)}/concurrency`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ eval_id: evalId, limit }),
    }),
  follow(runSet, handlers) {
    const source = new EventSource(`api/live/${part(runSet)}/events`);
    for (const [name, handle] of Object.entries(handlers)) {
      if (name === "lost") source.onerror = handle;
      else source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    return () => source.close();
  },
};

// --- a static export: small files that call nanoevalExport.put

const loading = new Map();

function load(name) {
  if (!loading.has(name)) {
    loading.set(
      name,
      new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => resolve(exported.files[name]);
        script.onerror = () => reject(new Error(`data/${name}.js is missing: export the run again`));
        document.head.append(script);
      }),
    );
  }
  return loading.get(name);
}

async function one(key) {
  const { runs } = await load("runs");
  const found = runs.find((run) => run.key === key);
  if (!found) throw new Missing(`there is no run ${key} in this export`);
  return found;
}

async function rowsOf(key) {
  const run = await one(key);
  const chunks = await Promise.all(Array.from({ length: run.row_files }, (_, n) => load(`${run.folder_name}-rows-${n}`)));
  return chunks.flat();
}

const ORDER = {
  order: (row) => row.id,
  sample: (row) => row.sample_id,
  score: (row) => row.score ?? -1,
  prob: (row) => row.prob ?? -1,
  length: (row) => row.reply_chars,
};

function keeps(asked) {
  const words = (asked.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  return (row) => {
    if (asked.outcome === "wrong" && !["incorrect", "unparsable", "refused"].includes(row.outcome)) return false;
    if (asked.outcome === "errored" && !row.error) return false;
    if (asked.outcome === "unscored" && row.score !== null) return false;
    if (asked.outcome && !["wrong", "errored", "unscored"].includes(asked.outcome) && row.outcome !== asked.outcome) return false;
    if (asked.field && row.fields[asked.field] !== asked.value) return false;
    if (!words.length) return true;
    const text = [row.sample_id, row.prompt, row.reply, row.picked, row.expected, row.error].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  };
}

const files = {
  live: async () => [],
  runs: () => load("runs"),
  run: async (key) => load(`${(await one(key)).folder_name}-summary`),
  async samples(key, asked) {
    const found = (await rowsOf(key)).filter(keeps(asked));
    const by = ORDER[(asked.sort || "order").replace("-", "")];
    const sign = (asked.sort || "").startsWith("-") ? -1 : 1;
    found.sort((a, b) => sign * (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : a.id - b.id));
    const offset = asked.offset || 0;
    return { rows: found.slice(offset, offset + (asked.limit || 100)), total: found.length, offset, searched: true, index: { complete: true } };
  },
  async transcript(key, sample) {
    const run = await one(key);
    const rows = (await rowsOf(key)).filter((row) => row.sample_id === sample);
    if (!rows.length) throw new Missing(`there is no sample ${sample} here`);
    const chunks = [...new Set(rows.map((row) => Math.floor((row.id - 1) / run.chunk)))];
    const attempts = (await Promise.all(chunks.map((n) => load(`${run.folder_name}-attempts-${n}`)))).flat();
    const ids = new Set(rows.map((row) => row.id));
    return { sample_id: sample, total: rows.length, attempts: attempts.filter((one) => ids.has(one.id)) };
  },
  async compare(keys) {
    const { compared } = await load("runs");
    const name = keys.join(",");
    const found = compared[name];
    if (!found) throw new Missing("this export does not compare these runs");
    return load(found);
  },
  setLimit: async () => {
    throw new Error("an export changes nothing");
  },
  follow: () => () => {},
};

export const data = isExport ? files : server;
