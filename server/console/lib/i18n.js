// What people read, in their language. A page gives its texts in all three; a test holds them complete.

export const LANGUAGES = { en: "English", zh: "中文", ja: "日本語" };

const KEY = "tidings.language";

let current = chosen();

// The language in force: its code, as the page's `lang` has it.
export function language() {
  return current;
}

export function setLanguage(code) {
  current = code;
  store(KEY, code);
}

// texts({en: {hello: "Hello, {name}"}, zh: …, ja: …}) → t("hello", {name: "Ann"}), in the language of the moment.
export function texts(all) {
  return (key, values = {}) => {
    const text = all[current][key] ?? all.en[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  };
}

function chosen() {
  const wanted = [stored(KEY), ...navigator.languages].map((code) => code?.slice(0, 2));
  return wanted.find((code) => code in LANGUAGES) ?? "en";
}

// localStorage is refused in some private modes: then a choice lasts as long as the page.
export function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    return;
  }
}
