import type { Metadata, Viewport } from "next";
import { Providers } from "@/features/layout/providers";
import { config } from "@/lib/config";
import "./globals.css";

export const metadata: Metadata = {
  title: { default: "Listings, live", template: "%s · Listings, live" },
  description: "Apartment buildings for sale, updated live",
};

export const viewport: Viewport = {
  width: "device-width",
  initialScale: 1,
  colorScheme: "light dark",
};

export default async function Layout({ children }: LayoutProps<"/">) {
  const settings = await config();
  return (
    <html lang="en" data-theme={settings.theme ?? undefined}>
      <body>
        <Providers config={settings}>{children}</Providers>
      </body>
    </html>
  );
}
