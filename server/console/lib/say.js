// Texts that change often.

// Have a node say this. What is said already is left alone: each change is work for the browser, and a live region
// that is written anew is read out anew.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
