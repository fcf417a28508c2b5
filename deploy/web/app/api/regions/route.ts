import { config } from "@/lib/config";
import { countRegions } from "@/features/listings/count-regions";

/** How many listings each region has; `null` while the bridge does not say. */
export async function GET(): Promise<Response> {
  const { token } = await config();
  return Response.json(await countRegions(token), { headers: { "Cache-Control": "no-store" } });
}
