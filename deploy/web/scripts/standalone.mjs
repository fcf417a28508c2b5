// The standalone server brings everything but the files that browsers load. They are put beside it.
import { cpSync } from "node:fs";

cpSync(".next/static", ".next/standalone/.next/static", { recursive: true });
