import type { Metadata } from "next";
import { Detail } from "@/features/detail/detail";

export const metadata: Metadata = { title: "Listing" };

export default async function Page({ params }: PageProps<"/properties/[id]">) {
  const { id } = await params;
  return <Detail id={decodeURIComponent(id)} />;
}
