// Drives a certified OpenID client for the tests, which judges by itself: issuer, state, nonce, signatures.

import { createPrivateKey } from "node:crypto";

import * as openid from "openid-client";

import { answerCalls } from "./calls.mjs";

const configurations = new Map();

const PROOFS = {
  basic: ({ secret }) => openid.ClientSecretBasic(secret),
  post: ({ secret }) => openid.ClientSecretPost(secret),
  none: () => openid.None(),
  key: async ({ key }) => openid.PrivateKeyJwt(await imported(key)),
};

async function imported(pem) {
  const der = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
  return crypto.subtle.importKey("pkcs8", der, { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, false, ["sign"]);
}

async function discovered(client) {
  // Over plain http, which it has to be told to accept; and with the signature of every ID token checked.
  const execute = [openid.allowInsecureRequests, openid.enableNonRepudiationChecks];
  const proof = await PROOFS[client.proof](client);
  return openid.discovery(new URL(client.issuer), client.id, undefined, proof, { execute });
}

async function configured(client) {
  const name = JSON.stringify(client);
  if (!configurations.has(name)) configurations.set(name, await discovered(client));
  return configurations.get(name);
}

const CALLS = {
  metadata: async (configuration) => configuration.serverMetadata(),

  async begin(configuration, parameters) {
    const verifier = openid.randomPKCECodeVerifier();
    const secrets = { state: openid.randomState(), nonce: openid.randomNonce() };
    const url = openid.buildAuthorizationUrl(configuration, {
      ...secrets,
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      ...parameters,
    });
    return { url: url.href, verifier, ...secrets };
  },

  async finish(configuration, { url, verifier, state, nonce, maxAge }) {
    const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, maxAge };
    return withClaims(await openid.authorizationCodeGrant(configuration, new URL(url), checks));
  },

  refresh: async (configuration, token) => withClaims(await openid.refreshTokenGrant(configuration, token)),
  machine: (configuration, parameters) => openid.clientCredentialsGrant(configuration, parameters),
  userInfo: (configuration, token, subject) => openid.fetchUserInfo(configuration, token, subject),
  introspect: (configuration, token) => openid.tokenIntrospection(configuration, token),
  revoke: (configuration, token) => openid.tokenRevocation(configuration, token),
  endSession: (configuration, parameters) => openid.buildEndSessionUrl(configuration, parameters).href,

  async fetch(configuration, token, url) {
    const answer = await openid.fetchProtectedResource(configuration, token, new URL(url), "GET");
    return { status: answer.status };
  },
};

function withClaims(tokens) {
  return { ...tokens, claims: tokens.claims() };
}

async function call({ client, call: name, parameters }) {
  return CALLS[name](await configured(client), ...parameters);
}

await answerCalls(call, ({ error, code, cause }) => ({ error, code, cause: String(cause?.message ?? "") }));
