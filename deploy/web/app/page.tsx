import { Browse } from "@/features/listings/browse";
import { config } from "@/lib/config";
import { countRegions } from "@/features/listings/count-regions";

export default async function Page({ searchParams }: PageProps<"/">) {
  const { region } = await searchParams;
  const { token } = await config();
  const name = typeof region === "string" && region !== "" ? region : null;
  return <Browse region={name} regions={(await countRegions(token)) ?? []} />;
}
