use super::*;

#[test]
fn a_listed_rule_tells_its_mapping() {
    let line = "-A CNI-DN-x -d 192.0.2.1/32 -p udp -m udp --dport 53 -j DNAT \
                --to-destination 10.0.0.2:5353";
    let rule = SavedRule::parse(line).expect("rule");
    let (mapping, target) = read_rule(Family::V4, &rule).expect("mapping");
    assert_eq!(mapping.to_string(), "192.0.2.1:53/udp");
    assert_eq!((mapping.container_port, target.to_string().as_str()), (5353, "10.0.0.2"));
    let line = "-A X -p tcp -m tcp --dport 80 -j DNAT --to-destination [2001:db8::2]:8080";
    let (mapping, target) =
        read_rule(Family::V6, &SavedRule::parse(line).expect("rule")).expect("mapping");
    assert_eq!(mapping.to_string(), "[::]:80/tcp");
    assert_eq!(target.to_string(), "2001:db8::2");
    let line = "-A X -s 127.0.0.1/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK";
    assert!(read_rule(Family::V4, &SavedRule::parse(line).expect("rule")).is_none());
}

#[test]
fn a_comment_tells_the_owner() {
    let owner = super::super::samples::owner();
    let read = read_comment(&chain::comment(&owner)).expect("owner");
    assert!(read.may_be(&owner));
    assert_eq!(read_comment("CNI portfwd masquerade mark"), None);
}
