// Routes: every view has a URL after the #, so that it can be shared and kept.

import { h, replace } from "./dom.js";
import { home } from "./home.js";
import { live } from "./live.js";
import { run } from "./run.js";
import { compare } from "./compare.js";
import { installKeys, showHelp } from "./keys.js";

const main = document.getElementById("main");
let leave = () => {};
let shown = "";
let retry = 0;
const RETRY_MS = 2000;

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a link that was typed or cut
  }
}

function parse() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query || "") };
}

const VIEWS = { live, run, compare };

function problem(error) {
  return h("section.panel.problem", { role: "alert" }, h("h2", {}, "That did not work"), h("p", {}, error.message), h("p", {}, h("a", { href: "#/" }, "All runs")));
}

// A view that failed is tried again for as long as it is asked for: its run may only be starting.
async function route({ again = false } = {}) {
  clearTimeout(retry);
  const { parts, query } = parse();
  const view = VIEWS[parts[0]] || home;
  const identity = parts.slice(0, 2).join("/");
  const sameView = identity === shown;
  if (!sameView) {
    leave();
    leave = () => {};
    if (!again) {
      replace(main, h("div.loading", { role: "status" }, "Loading…"));
      window.scrollTo(0, 0);
    }
  }
  shown = identity;
  header(parts);
  try {
    const left = await view({ main, parts, query, sameView });
    if (left) leave = left;
  } catch (error) {
    shown = "";
    const text = main.querySelector(".problem p")?.textContent;
    if (text !== error.message) replace(main, problem(error));
    retry = setTimeout(route, RETRY_MS, { again: true });
  }
}

function header(parts) {
  const crumbs = { live: "Live", run: "Run", compare: "Compare" };
  replace(
    document.getElementById("top"),
    h("a.brand", { href: "#/" }, h("span.logo", { "aria-hidden": "true" }), "nanoeval"),
    h("nav", { "aria-label": "Where you are" }, parts[0] && crumbs[parts[0]] ? [h("span.crumb", {}, crumbs[parts[0]]), h("span.crumb-name", {}, parts[0] === "compare" ? "" : parts[1] || "")] : null),
    h("div.top-right", {},
      h("button.quiet", { type: "button", onclick: showHelp, title: "Keyboard (?)", "aria-label": "Keyboard help" }, "?"),
      h("button.quiet", { type: "button", id: "theme", onclick: nextTheme, title: "Light, dark, or as the system" }, themeName())),
  );
}

// --- light and dark

const THEMES = ["auto", "light", "dark"];
const stored = () => {
  try {
    return localStorage.getItem("nanoeval-theme") || "auto";
  } catch {
    return "auto"; // a browser may forbid it
  }
};
const themeName = () => ({ auto: "◐ Auto", light: "○ Light", dark: "● Dark" })[document.documentElement.dataset.theme || "auto"];

function applyTheme(name) {
  document.documentElement.dataset.theme = name;
}

function nextTheme() {
  const now = document.documentElement.dataset.theme || "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  applyTheme(next);
  try {
    localStorage.setItem("nanoeval-theme", next);
  } catch {
    // kept for this page only
  }
  document.getElementById("theme").textContent = themeName();
}

applyTheme(stored());
installKeys();
window.addEventListener("hashchange", () => route());
route();
