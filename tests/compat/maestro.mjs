// Drives the vendor's SDK for the tests.

import { IamClient } from "@docusign/iam-sdk";

import { answerCalls, plain } from "./calls.mjs";

async function call({ serverURL, accessToken, group, operation, request, retries }) {
  // Without retries a failure is told at once; with the SDK's own it would be hidden for half a minute.
  const retryConfig = retries ? undefined : { strategy: "none" };
  const client = new IamClient({ serverURL, accessToken, retryConfig });
  return plain(await client.maestro[group][operation](request));
}

await answerCalls(call, ({ error, code, timestamp }) => ({ error, code, timestamp }));
