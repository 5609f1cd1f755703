// Elements of the page. Text is always text: nothing here, nor anywhere else, makes markup of it.

/**
 * An element.
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `class` and others by name; `on` has listeners. What is null is left out.
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        made.addEventListener(event, listener);
      }
    } else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return made;
}

/** @param {Node | string | number} child */
function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Text that tasks, workers or people chose, apart from what stands around it. @param {any} text @param {string} tag */
export function theirs(text, tag = "span") {
  return h(tag, { class: "theirs", dir: "auto" }, text);
}

/** Set text only where it changed, so that what is selected or read aloud is left alone. @param {Element} element @param {any} text */
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) {
    element.textContent = wanted;
  }
}

/** @param {Element} element @param {string} name @param {any} value */
export function set(element, name, value) {
  if (value === null || value === undefined) {
    element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}

/** A list of facts: names and what they are; what is empty is left out. @param {[string, any][]} pairs */
export function facts(pairs) {
  const list = h("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value !== "" && value !== null && value !== undefined) {
      list.append(h("dt", {}, name), h("dd", {}, value instanceof Node ? value : theirs(value)));
    }
  }
  return list;
}

const NAMESPACE = "http://www.w3.org/2000/svg";

/** A line of percents. @returns {{element: SVGElement, draw(values: number[]): void}} */
export function sparkline() {
  const element = document.createElementNS(NAMESPACE, "svg");
  const path = document.createElementNS(NAMESPACE, "path");
  element.setAttribute("class", "spark");
  element.setAttribute("viewBox", "0 0 60 22");
  element.setAttribute("preserveAspectRatio", "none");
  element.setAttribute("role", "img");
  element.append(path);
  return {
    element,
    draw(values) {
      const points = values.map((value, at) => `${60 - values.length + at} ${21 - value / 5}`);
      set(path, "d", points.length > 1 ? `M${points.join("L")}` : "");
      set(element, "aria-label", values.length ? `load of the last minutes, now ${values.at(-1)} %` : "no load known");
    },
  };
}

/** A bar of parts in percent. @returns {{element: HTMLElement, draw(parts: Record<string, number>, label: string): void}} */
export function bar() {
  const parts = { done: h("span", { class: "done" }), wrong: h("span", { class: "wrong" }), active: h("span", { class: "active" }) };
  const element = h("div", { class: "bar", role: "img" }, ...Object.values(parts));
  return {
    element,
    draw(shares, label) {
      for (const [name, part] of Object.entries(parts)) {
        part.style.width = `${shares[name] ?? 0}%`;
      }
      set(element, "aria-label", label);
    },
  };
}
