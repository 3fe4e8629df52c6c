// Where the page's data come from: the monitor's server.

export class Missing extends Error {}

function takeToken() {
  const found = /[#?&]token=([\w-]+)/.exec(location.hash + location.search);
  if (found) {
    sessionStorage.setItem("nanoeval-token", found[1]);
    const hash = location.hash.replace(/[#&]?token=[\w-]+/, "");
    history.replaceState(null, "", location.pathname + (hash || "#/"));
  }
}
takeToken();

export const token = () => sessionStorage.getItem("nanoeval-token");

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

export const fileUrl = (key, name) => `api/runs/${part(key)}/files/${part(name.replace("sha256:", ""))}`;

export const data = {
  live: () => fetched("api/live"),
  runs: () => fetched("api/runs"),
  run: (key) => fetched(`api/runs/${part(key)}`),
  samples: (key, asked) => fetched(`api/runs/${part(key)}/samples?${query(asked)}`),
  values: (key, field) => fetched(`api/runs/${part(key)}/fields/${part(field)}`),
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
