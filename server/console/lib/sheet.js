// A stylesheet that a page brings with it.

const added = new Map();

// Have the document use it, once: sheet(new URL("page.css", import.meta.url)). Resolves when it applies, or cannot be
// had; who measures what it lays out waits for that. Never rejects.
export function sheet(url) {
  const { href } = new URL(url, import.meta.url);
  if (added.has(href)) return added.get(href);
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  const applied = new Promise((resolve) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", resolve);
  });
  added.set(href, applied);
  document.head.append(link);
  return applied;
}
