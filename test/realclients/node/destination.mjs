// Runs a service that rules deliver to, on a free port of the loopback interface or the one given, and
// prints the port: node destination.mjs dynalite|kinesalite|s3rver FOLDER [PORT]
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const [kind, path, port] = process.argv.slice(2);
const listen = (server) => server.listen(Number(port ?? 0), "127.0.0.1", () => console.log(server.address().port));

switch (kind) {
  case "dynalite":
    listen(require("dynalite")({ path, createTableMs: 0 }));
    break;
  case "kinesalite":
    listen(require("kinesalite")({ createStreamMs: 0 }));
    break;
  case "s3rver": {
    const S3rver = require("s3rver");
    const server = new S3rver({ directory: path, address: "127.0.0.1", port: Number(port ?? 0), silent: true, configureBuckets: [{ name: "readings" }] });
    console.log((await server.run()).port);
    break;
  }
  default:
    console.error(`unknown service ${kind}`);
    process.exit(2);
}
