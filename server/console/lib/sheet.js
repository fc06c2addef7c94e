// A stylesheet that a page brings with it.

const added = new Set();

// Have the document use it, once: sheet(new URL("page.css", import.meta.url)).
export function sheet(url) {
  const { href } = new URL(url, import.meta.url);
  if (added.has(href)) return;
  added.add(href);
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}
