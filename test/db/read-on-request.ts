import Database from "libsql";

const [, , path = ""] = process.argv;
const database = new Database(path);
database.exec("PRAGMA busy_timeout = 10000");
const count = database.prepare("SELECT count(*) AS n FROM items");
count.all([]);
process.stdin.on("data", () => {
  count.all([]);
  process.stdout.write("read\n");
});
process.stdout.write("ready\n");
