// @ts-check
// Who this browser is and which jobs this tab watches, one of each kind. The server stores the owner's hash only;
// nothing else proves it.
(() => {
  const RUNNING = ["sent", "planned", "waiting", "painting", "cell", "training", "sampling"];
  /** @type {Record<string, string>} */
  const memory = {};
  const random = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    return btoa(String.fromCharCode(...bytes))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=/g, "");
  };
  // Where a browser forbids storage the page still works, until it is closed.
  /** @param {"localStorage" | "sessionStorage"} storage @param {string} name */
  const read = (storage, name) => {
    try {
      return window[storage].getItem(name) || "";
    } catch {
      return memory[name] || "";
    }
  };
  /** @param {"localStorage" | "sessionStorage"} storage @param {string} name @param {string} value */
  const write = (storage, name, value) => {
    try {
      window[storage].setItem(name, value);
    } catch {
      memory[name] = value;
    }
    return value;
  };
  const owner = () => read("localStorage", "atelier-owner") || write("localStorage", "atelier-owner", random());
  // Gradio's client asks for a reset after each cancelled call; there is nothing to do then, and no such route here.
  const ask = window.fetch;
  /** @param {RequestInfo | URL} url */
  const reset = (url) => String(url instanceof Request ? url.url : url).endsWith("/gradio_api/reset");
  window.fetch = (url, options) => (reset(url) ? Promise.resolve(new Response("{}")) : ask(url, options));
  /** @param {string} kind @param {string} what */
  const ours = (kind, what) => read("sessionStorage", `atelier-${kind}-${what}`);
  // What a browser remembers of its visitor, never more than this of one kind.
  const MOST = 60000;
  window.atelier = {
    owner,
    // A tab has its own jobs, and a reload does not change them.
    keys: (kind) => ({
      owner: owner(),
      desk: ours(kind, "desk") || write("sessionStorage", `atelier-${kind}-desk`, random()),
      job: ours(kind, "job"),
    }),
    begin: (kind, shown) => {
      write("sessionStorage", `atelier-${kind}-job`, random());
      return { ...window.atelier.keys(kind), watching: shown?.job !== undefined && window.atelier.runs(shown) };
    },
    // Until the viewer is there, see common/viewer.js, and the shelf of styles, see paint/styles.js.
    view: () => {},
    act: async () => "",
    wear: async () => "",
    bring: async () => "",
    dress: async () => "",
    runs: (job) => RUNNING.includes(job?.status ?? "empty"),
    recall: (name) => {
      try {
        return JSON.parse(read("localStorage", `atelier-${name}`)) ?? undefined;
      } catch {
        return undefined;
      }
    },
    remember: (name, value) => {
      const text = JSON.stringify(value);
      if (text.length <= MOST) write("localStorage", `atelier-${name}`, text);
    },
  };
})();
