/** A VLAN identifier is 1 to 4094; 0 and 4095 are reserved (IEEE 802.1Q, 9.6). */
export const VLAN_MIN = 1;
export const VLAN_MAX = 4094;
