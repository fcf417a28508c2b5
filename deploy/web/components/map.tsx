"use client";
import type { Feature, Point } from "geojson";
import {
  type GeoJSONSource, type GeoJSONSourceDiff, LngLatBounds, Map as MapLibre, NavigationControl, setWorkerUrl,
} from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";
import { useEffect, useRef, useState } from "react";
import { text } from "@/lib/format";
import type { Listing } from "@/lib/store";
import { paint, style } from "./map-style";
import styles from "./map.module.css";

// A bundler has to be told that this file is wanted beside the others.
setWorkerUrl(new URL("maplibre-gl/dist/maplibre-gl-worker.mjs", import.meta.url).href);

interface Props {
  listings: readonly Listing[];
  ready: boolean;
  /** What is shown; the map goes there when it is another one. */
  place: string;
  selected: string | null;
  onSelect?: (id: string) => void;
}

export default function ListingMap({ listings, ready, place, selected, onSelect }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const [map, setMap] = useState<MapLibre | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const drawn = useRef(new Map<string, Listing>());
  const select = useRef(onSelect);
  useEffect(() => {
    select.current = onSelect;
  }, [onSelect]);

  useEffect(() => {
    if (!host.current) return;
    let made: MapLibre;
    try {
      made = new MapLibre({
        container: host.current,
        style: style(colours()),
        center: [-96, 38.5],
        zoom: 3,
        minZoom: 1,
        attributionControl: false,
        dragRotate: false,
        pitchWithRotate: false,
      });
    } catch (error) {
      // eslint-disable-next-line react-hooks/set-state-in-effect -- known only once it was tried
      setTrouble(String(error instanceof Error ? error.message : error));
      return;
    }
    made.addControl(new NavigationControl({ showCompass: false }), "top-right");
    made.on("load", () => setMap(made));
    made.on("error", ({ error }) => console.error(`map: ${error.message}`));
    made.on("click", "points", ({ features }) => {
      const id: unknown = features?.[0]?.properties["id"];
      if (typeof id === "string") select.current?.(id);
    });
    made.on("mouseenter", "points", () => (made.getCanvas().style.cursor = "pointer"));
    made.on("mouseleave", "points", () => (made.getCanvas().style.cursor = ""));
    const repaint = () => paint(made, colours());
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", repaint);
    window.addEventListener("theme", repaint);
    const shapes = drawn.current;
    return () => {
      scheme.removeEventListener("change", repaint);
      window.removeEventListener("theme", repaint);
      shapes.clear();
      setMap(null);
      made.remove();
    };
  }, []);

  useEffect(() => {
    if (!map) return;
    const diff = difference(drawn.current, listings);
    if (diff) map.getSource<GeoJSONSource>("listings")?.updateData(diff);
  }, [map, listings]);

  useEffect(() => {
    if (!map || !ready) return;
    const points = [...drawn.current.values()].map(where).filter((point) => point !== null);
    if (points.length === 0) return;
    const bounds = points.reduce((box, point) => box.extend(point), new LngLatBounds(points[0], points[0]));
    map.fitBounds(bounds, { padding: 48, maxZoom: 9, animate: !matchMedia("(prefers-reduced-motion: reduce)").matches });
  }, [map, ready, place]);

  useEffect(() => {
    if (!map || selected === null) return;
    map.setFeatureState({ source: "listings", id: selected }, { selected: true });
    const point = where(drawn.current.get(selected));
    if (point && !map.getBounds().contains(point)) map.easeTo({ center: point });
    return () => {
      if (map.getSource("listings")) map.removeFeatureState({ source: "listings", id: selected }, "selected");
    };
  }, [map, selected]);

  return (
    <div className={styles.map} data-testid="map" data-count={listings.filter((listing) => where(listing)).length}>
      {trouble ? (
        <p className={styles.trouble}>The map needs WebGL, which this browser does not give. The list has everything.</p>
      ) : (
        <div ref={host} className={styles.host} />
      )}
    </div>
  );
}

function where(listing: Listing | undefined): [number, number] | null {
  const { longitude, latitude } = listing?.row ?? {};
  return typeof longitude === "number" && typeof latitude === "number" ? [longitude, latitude] : null;
}

function feature(listing: Listing, coordinates: [number, number]): Feature<Point> {
  const { id, row, fresh } = listing;
  return {
    type: "Feature",
    id,
    geometry: { type: "Point", coordinates },
    properties: { id, status: text(row, "status") ?? "", fresh: Object.keys(fresh).length > 0 ? 1 : 0 },
  };
}

/** What became different since it was drawn last; `drawn` is brought up to date. */
function difference(drawn: Map<string, Listing>, listings: readonly Listing[]): GeoJSONSourceDiff | null {
  const add: Feature<Point>[] = [];
  const remove: string[] = [];
  const here = new Set<string>();
  for (const listing of listings) {
    const point = where(listing);
    if (!point) continue;
    here.add(listing.id);
    if (drawn.get(listing.id) === listing) continue;
    drawn.set(listing.id, listing);
    add.push(feature(listing, point));
  }
  for (const id of drawn.keys()) {
    if (here.has(id)) continue;
    drawn.delete(id);
    remove.push(id);
  }
  return add.length + remove.length > 0 ? { add, remove } : null;
}

/** The theme's colours as the page has them now. */
function colours(): (name: string) => string {
  const root = getComputedStyle(document.documentElement);
  return (name) => root.getPropertyValue(`--${name}`).trim();
}
