import { config } from "@/lib/config";
import { countRegions } from "@/features/listings/count-regions";

/** Return the regions with their numbers of listings, or `null` while the bridge is unavailable. */
export async function GET(): Promise<Response> {
  const { token } = await config();
  return Response.json(await countRegions(token), { headers: { "Cache-Control": "no-store" } });
}
