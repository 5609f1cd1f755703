// Shows the OpenAPI document, which needs a key; with Swagger UI where the server has it, as a list where not.
"use strict";

const calls = document.getElementById("calls");
const trouble = document.getElementById("trouble");
const MISSING =
  "Swagger UI is not installed beside this server, so calls are listed only and cannot be tried here: " +
  "pip install 'dart-runtime[page]' and load this page again.";

function list(description) {
  const items = document.createElement("ul");
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, call] of Object.entries(methods)) {
      const item = document.createElement("li");
      const name = document.createElement("code");
      name.textContent = `${method.toUpperCase()} ${path}`;
      item.append(name, `: ${call.summary}`);
      items.append(item);
    }
  }
  calls.replaceChildren(items);
}

document.getElementById("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.getElementById("key");
  const authorization = `Bearer ${field.value}`;
  trouble.textContent = "";
  try {
    const answer = await fetch("/openapi.json", { headers: { Authorization: authorization } });
    const description = await answer.json();
    if (!answer.ok) {
      trouble.textContent = description.error.message;
      return;
    }
    field.value = "";
    if (!("SwaggerUIBundle" in window)) {
      trouble.textContent = MISSING;
      list(description);
      return;
    }
    window.SwaggerUIBundle({
      spec: description,
      domNode: calls,
      deepLinking: false,
      tryItOutEnabled: true,
      validatorUrl: null,
      requestInterceptor(request) {
        // Never to another server.
        if (new URL(request.url, location.href).origin === location.origin) {
          request.headers.Authorization = authorization;
        }
        return request;
      },
    });
  } catch (error) {
    trouble.textContent = `The server cannot be asked: ${error.message}.`;
  }
});
