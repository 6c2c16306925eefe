// Passkeys: the one thing on these pages that does not work without a script. A form with `data-passkey` holds the options; what the
// browser answers goes into its field `answer`, and the form is sent as any other.
"use strict";

(() => {
  const supported = "PublicKeyCredential" in window && "credentials" in navigator;

  const toBytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };

  const toText = (buffer) => {
    let plain = "";
    for (const byte of new Uint8Array(buffer)) {
      plain += String.fromCharCode(byte);
    }
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  // The browser's own parser is missing in some that know passkeys well.
  const parsed = (options) => {
    const listed = (items) => (items || []).map((item) => ({ ...item, id: toBytes(item.id) }));
    const found = { ...options, challenge: toBytes(options.challenge) };
    if (options.user) {
      found.user = { ...options.user, id: toBytes(options.user.id) };
      found.excludeCredentials = listed(options.excludeCredentials);
    } else {
      found.allowCredentials = listed(options.allowCredentials);
    }
    return found;
  };

  const written = (credential) => {
    const from = credential.response;
    const response = { clientDataJSON: toText(from.clientDataJSON) };
    if (from.attestationObject) {
      response.attestationObject = toText(from.attestationObject);
      response.transports = from.getTransports ? from.getTransports() : [];
    } else {
      response.authenticatorData = toText(from.authenticatorData);
      response.signature = toText(from.signature);
      response.userHandle = from.userHandle ? toText(from.userHandle) : null;
    }
    return JSON.stringify({
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment || null,
      response,
    });
  };

  const excuse = (error) => {
    if (error.name === "InvalidStateError") {
      return "This device already has a passkey for this account.";
    }
    if (error.name === "NotAllowedError") {
      return "The passkey was not used: it was cancelled, or it took too long. Try again.";
    }
    return "This browser could not use a passkey here. Try another way.";
  };

  let waiting = null; // the request that fills in by itself, to be ended when somebody presses the button

  const run = async (form, quietly) => {
    const options = parsed(JSON.parse(form.dataset.options));
    const request = { publicKey: options };
    if (quietly) {
      waiting = new AbortController();
      request.mediation = "conditional";
      request.signal = waiting.signal;
    } else if (waiting) {
      waiting.abort();
      waiting = null;
    }
    const create = form.dataset.passkey === "create";
    const credential = await (create ? navigator.credentials.create(request) : navigator.credentials.get(request));
    if (!credential) {
      throw new DOMException("no passkey", "NotAllowedError");
    }
    form.elements.answer.value = written(credential);
    form.submit();
  };

  const show = (form, text) => {
    const place = form.querySelector("[data-passkey-error]");
    place.textContent = text;
    place.hidden = !text;
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!supported || !form.dataset.options) {
      continue;
    }
    for (const item of document.querySelectorAll("[data-with-passkeys]")) {
      item.hidden = false;
    }
    for (const item of document.querySelectorAll("[data-without-passkeys]")) {
      item.hidden = true;
    }
    let asked = false; // the browser's question is open: to press the button again would only end it
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (asked) {
        return;
      }
      asked = true;
      show(form, "");
      run(form, false).catch((error) => {
        show(form, excuse(error));
        asked = false;
      });
    });
    addEventListener("pageshow", () => {
      asked = false; // a page that the browser kept, and shows again
    });
    if (form.dataset.passkey === "get" && form.hasAttribute("data-autofill")) {
      const able = PublicKeyCredential.isConditionalMediationAvailable;
      Promise.resolve(able ? able.call(PublicKeyCredential) : false)
        .then((yes) => (yes ? run(form, true) : undefined))
        .catch(() => undefined); // nobody asked for it, so nobody is told
    }
  }
})();
