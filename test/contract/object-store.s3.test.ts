import { startVersityGw } from "../support/versitygw.ts";
import { objectStoreContract } from "./object-store.contract.ts";

for (const prefix of ["", "team a/hold+fast"])
  objectStoreContract(`S3 (versitygw), ${prefix === "" ? "a whole bucket" : "below a prefix"}`, async () => {
    const server = await startVersityGw();
    return {
      url: server.storeUrl(encodeURI(prefix)),
      settings: { credentials: server.credentials, baseDir: "/" },
      close: () => server.stop(),
    };
  });
