// @ts-check
/** @type {typeof globalThis.tooLarge} */
const tooLarge = (file) =>
  file.size > given.most_bytes ? `${file.name} is too large: up to ${Math.floor(given.most_bytes / 2 ** 20)} MB are taken.` : "";
// Send a file and then `run` with what an event can carry of it, or tell by `fail` that it did not arrive.
/** @type {typeof globalThis.sendFile} */
const sendFile = async (file, run, fail) => {
  try {
    const sent = await upload(file);
    run({ ...sent, orig_name: file.name, meta: { _type: "gradio.FileData" } });
  } catch {
    fail(`${file.name} did not arrive; please try again.`);
  }
};
