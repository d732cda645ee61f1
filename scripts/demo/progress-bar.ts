const width = 32;
/** Outside terminals a line is printed for every so many percent. */
const plainStep = 10;

export interface ProgressBar {
  update(done: number, total: number | undefined, note: string): void;
  /** Ends the bar's line, so that others can follow. */
  end(): void;
}

/** A bar that redraws itself in a terminal; elsewhere a plain line now and then. */
export function progressBar(out: NodeJS.WriteStream): ProgressBar {
  let shown = "";
  let lastPercent = -1;
  const redraw = (line: string): void => {
    if (line === shown) return;
    // A terminal that does not tell its width says 0.
    out.write(`\r\u001B[2K${line.slice(0, (out.columns || 80) - 1)}`);
    shown = line;
  };
  return {
    update(done, total, note) {
      const percent = total === undefined ? 0 : Math.floor((100 * Math.min(done, total)) / total);
      if (out.isTTY) return redraw(`  ${bar(percent)} ${counted(done, total)}  ${note}`);
      const step = percent - (percent % plainStep);
      if (step <= lastPercent) return;
      lastPercent = step;
      out.write(`  ${String(percent).padStart(3)} %  ${counted(done, total)}  ${note}\n`);
    },
    end() {
      if (out.isTTY && shown !== "") out.write("\n");
      shown = "";
    },
  };
}

function bar(percent: number): string {
  const filled = Math.round((width * percent) / 100);
  return `${"█".repeat(filled)}${"░".repeat(width - filled)} ${String(percent).padStart(3)} %`;
}

function counted(done: number, total: number | undefined): string {
  return `${done}/${total ?? "?"} steps`;
}
