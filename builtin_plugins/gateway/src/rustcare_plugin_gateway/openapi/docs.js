"use strict";
// Shows openapi.json: each route with its parameters, body and answers. Text only ever goes in as text.

const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
};

const resolve = (schema, all, depth = 0) => {
  if (!schema || depth > 6) return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 3 ? { type: name } : resolve(all[name], all, depth + 1);
  }
  const copy = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === "properties") {
      copy.properties = {};
      for (const [name, inner] of Object.entries(value)) copy.properties[name] = resolve(inner, all, depth + 1);
    } else if (key === "items" || key === "additionalProperties") copy[key] = typeof value === "object" ? resolve(value, all, depth + 1) : value;
    else if (key === "anyOf") copy.anyOf = value.map((inner) => resolve(inner, all, depth + 1));
    else copy[key] = value;
  }
  return copy;
};

const example = (schema, depth = 0) => {
  if (!schema || depth > 6) return null;
  if ("default" in schema) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return example(schema.anyOf[0], depth + 1);
  switch (schema.type) {
    case "object": {
      const found = {};
      for (const [name, inner] of Object.entries(schema.properties || {})) found[name] = example(inner, depth + 1);
      return found;
    }
    case "array": return [example(schema.items, depth + 1)];
    case "integer": case "number": return 0;
    case "boolean": return true;
    case "string": return schema.format || "text";
    default: return null;
  }
};

const table = (rows, heads) => {
  const element = make("table");
  const top = element.createTHead().insertRow();
  for (const head of heads) { const cell = make("th", head); cell.scope = "col"; top.append(cell); }
  const body = element.createTBody();
  for (const row of rows) { const line = body.insertRow(); for (const text of row) line.insertCell().textContent = text; }
  return element;
};

const shown = (parent, title, content, all) => {
  for (const [media, { schema }] of Object.entries(content || {})) {
    if (!schema) continue;
    parent.append(make("h3", `${title} (${media})`));
    parent.append(make("pre", JSON.stringify(example(resolve(schema, all)), null, 2)));
    return;
  }
};

const route = (method, path, operation, page) => {
  const element = make("details");
  const summary = make("summary");
  summary.append(make("span", method.toUpperCase(), "method"), make("span", path, "path"), make("span", operation.summary, "what"));
  element.append(summary);
  element.dataset.text = `${method} ${path} ${operation.summary || ""} ${operation.tags.join(" ")}`.toLowerCase();
  element.addEventListener("toggle", () => {
    if (!element.open || element.querySelector(".inside")) return;
    const inside = make("div", "", "inside");
    inside.append(make("p", (operation.description || "").replaceAll("`", "") || (operation.security.length ? "For callers who are known." : "For everybody."), "soft"));
    if (operation.parameters) {
      inside.append(make("h3", "Parameters"));
      inside.append(table(operation.parameters.map((item) => [item.name, item.in, item.required ? "yes" : "no"]), ["Name", "In", "Required"]));
    }
    const all = page.components.schemas;
    if (operation.requestBody) shown(inside, "Body", operation.requestBody.content, all);
    const answers = Object.entries(operation.responses);
    for (const [status, answer] of answers) if (status[0] === "2" && answer.content) shown(inside, `Answer ${status}`, answer.content, all);
    inside.append(make("h3", "Statuses"));
    inside.append(table(answers.map(([status, answer]) => {
      const full = answer.$ref ? page.components.responses[answer.$ref.split("/").pop()] : answer;
      return [status, full.description];
    }), ["Status", "Meaning"]));
    element.append(inside);
  });
  return element;
};

const show = (page) => {
  const main = document.getElementById("routes");
  const groups = new Map();
  for (const [path, operations] of Object.entries(page.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const name = operation.tags[0];
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(route(method, path, operation, page));
    }
  for (const [name, routes] of [...groups].sort()) {
    const section = make("section");
    section.append(make("h2", name), ...routes);
    main.append(section);
  }
  const filter = document.getElementById("filter");
  const apply = () => {
    const wanted = filter.value.trim().toLowerCase();
    let count = 0;
    for (const section of main.querySelectorAll("section")) {
      let any = false;
      for (const element of section.querySelectorAll("details")) {
        element.hidden = !element.dataset.text.includes(wanted);
        if (!element.hidden) { any = true; count += 1; }
      }
      section.hidden = !any;
    }
    document.getElementById("count").textContent = `${count} route${count === 1 ? "" : "s"}`;
  };
  filter.addEventListener("input", apply);
  apply();
};

fetch("openapi.json").then((answer) => answer.json()).then(show, () => {
  document.getElementById("count").textContent = "The description could not be loaded.";
});
