import { spawn } from "node:child_process";

/** Opens the link in the person's browser. Resolves with false where that cannot be done. */
export function openPage(link: string): Promise<boolean> {
  const command = process.platform === "darwin" ? "open" : "xdg-open";
  return new Promise((resolve) => {
    const child = spawn(command, [link], { stdio: "ignore", detached: true });
    child.once("error", () => resolve(false));
    child.once("exit", (code) => resolve(code === 0));
    child.unref();
  });
}
