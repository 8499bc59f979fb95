// What the page knows of a run beside its events, as testbed/live/description.py writes it.

/** Mean orbital elements, with the names and units of an OMM. */
export interface Elements {
  NORAD_CAT_ID: string;
  EPOCH: string;
  MEAN_MOTION: number;
  ECCENTRICITY: number;
  INCLINATION: number;
  RA_OF_ASC_NODE: number;
  ARG_OF_PERICENTER: number;
  MEAN_ANOMALY: number;
  BSTAR: number;
}

export interface Place {
  latitude_deg: number;
  longitude_deg: number;
  altitude_m: number;
}

export interface SatelliteFacts {
  name: string;
  slug: string;
  policy: string;
  orbit: Elements | null;
}

export interface StationFacts {
  name: string;
  slug: string;
  place: Place | null;
  mask_deg: number | null;
}

export interface LinkFacts {
  name: string;
  ends: [string, string];
  kind: "contact" | "crosslink" | "earth";
  contacts: [number, number][];
}

export interface FrameFacts {
  frame: string;
  satellite: string;
  prompt: string;
  truth: string;
  kind: string;
  capture_s: number;
}

export interface Description {
  name: string;
  description: string;
  start_utc: string;
  end_s: number;
  satellites: SatelliteFacts[];
  stations: StationFacts[];
  links: LinkFacts[];
  frames: FrameFacts[];
}
