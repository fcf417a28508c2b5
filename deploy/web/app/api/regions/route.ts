import { config } from "@/lib/config";
import { countRegions } from "@/lib/regions";

export async function GET(): Promise<Response> {
  const { token } = await config();
  const counts = await countRegions(token);
  return counts ? Response.json(counts) : Response.json({ error: "the bridge does not answer" }, { status: 502 });
}
