// @ts-check
// Who this browser is and which jobs this tab watches, one of each kind. The server stores the owner's hash only;
// nothing else proves it.
(() => {
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
  window.atelier = {
    owner,
    // A tab has its own jobs, and a reload does not change them.
    keys: (kind) => ({ owner: owner(), job: read("sessionStorage", `atelier-${kind}`) }),
    begin: (kind) => ({ owner: owner(), job: write("sessionStorage", `atelier-${kind}`, random()) }),
  };
})();
