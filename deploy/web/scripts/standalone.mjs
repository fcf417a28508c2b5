// The standalone build lacks the static files that browsers load: copy them into it.
import { cpSync } from "node:fs";

cpSync(".next/static", ".next/standalone/.next/static", { recursive: true });
